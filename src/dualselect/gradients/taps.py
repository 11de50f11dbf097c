"""Exact gradients of every example of a batch from one forward and one backward.

Shapes: B examples, T tokens, i inputs and o outputs of a linear layer, P trainable parameters.

A tap is an identity on the output of each trainable linear layer. In the backward pass it sees what autograd would
multiply into the weight gradient, the layer's input x (B, T, i) and the gradient of its output g (B, T, o), and
keeps the product example by example: dW_b = g_b^T x_b, dbias_b = sum_t g_bt. All taps share a dummy scalar, the
anchor; differentiating with respect to the anchor alone runs every tap and no weight gradient, so `.grad` is never
touched and the work of the summed weight gradients is saved.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.errors import GradientError
from dualselect.gradients.layout import ExampleLosses, GradientLayout, PerExampleGradients


EXACT_TOLERANCE, ROUNDED_TOLERANCE = 1e-3, 0.1
"""Relative difference to autograd that is accepted in float32, and where anything is rounded to fewer bits."""


class _Tap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, layer_input: Tensor, anchor: Tensor, sink: "_Sink", layer: nn.Linear) -> Any:
        # autocast hands float32 inputs to a bfloat16 product; the copy that the product used is the one to keep
        ctx.save_for_backward(layer_input.to(output.dtype))
        ctx.sink, ctx.layer = sink, layer
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (output_gradient,) = gradients
        ctx.sink.collect(ctx.layer, ctx.saved_tensors[0], output_gradient)
        return output_gradient, None, output_gradient.new_zeros(()), None, None


class _Sink:
    """Collects what the taps see into one (B, P) tensor."""

    def __init__(self, layout: GradientLayout, parameters: Mapping[str, nn.Parameter], examples: int) -> None:
        self.gradients = layout.zeros(examples)
        self._pieces = {id(parameters[name]): piece for name, piece in layout.pieces(self.gradients)}
        self.seen: set[int] = set()
        self.rounded = False  # whether any product was of fewer bits than float32

    def collect(self, layer: nn.Linear, layer_input: Tensor, output_gradient: Tensor) -> None:
        examples = len(self.gradients)
        if layer_input.shape[0] != examples:
            raise GradientError(
                f"a {type(layer).__name__} layer was given an input of shape {tuple(layer_input.shape)} in a batch of "
                f"{examples} examples: its rows are not examples, so there are no per-example gradients. "
                "Use gradient_engine: sequential."
            )
        self.rounded |= output_gradient.dtype != torch.float32
        x = layer_input.reshape(examples, -1, layer_input.shape[-1])
        g = output_gradient.reshape(examples, -1, output_gradient.shape[-1])
        if layer.weight.requires_grad:
            self._pieces[id(layer.weight)].add_(torch.bmm(g.transpose(1, 2), x))
            self.seen.add(id(layer.weight))
        if layer.bias is not None and layer.bias.requires_grad:
            self._pieces[id(layer.bias)].add_(g.sum(dim=1, dtype=torch.float32))
            self.seen.add(id(layer.bias))


def tapped_gradients(
    model: nn.Module,
    inputs: Mapping[str, Any],
    example_losses: ExampleLosses,
    layout: GradientLayout,
    *,
    unverified: set[str] | None = None,
) -> PerExampleGradients:
    """Loss and exact gradient of each example, from one batched forward and backward.

    Works with padding on either side, dropout (the masks of this forward), non-reentrant gradient checkpointing and
    autocast. Leaves `.grad` and the model untouched.

    Args:
        model: Its trainable parameters are weights and biases of `nn.Linear` layers (LoRA A and B are).
        inputs: A batch of B examples as the model takes it.
        example_losses: From model and inputs to losses of shape (B,).
        layout: The layout of the model's trainable parameters.
        unverified: Names of parameters to check: autograd computes their summed gradient in the same backward. A
            parameter leaves the set when both agree and the gradient is not zero (that of LoRA's A is zero until B
            has moved). None or empty for no check.

    Raises:
        GradientError: A trainable parameter does not belong to a linear layer, was not used through its layer in this
            batch, or its per-example gradients do not add up to autograd's; the message names it.
    """
    parameters = layout.parameters(model)
    layers = tapped_layers(model, layout)
    anchor = torch.zeros((), device=layout.device, requires_grad=True)
    examples = len(inputs["input_ids"])
    sink = _Sink(layout, parameters, examples)
    with torch.enable_grad(), _taps(layers, anchor, sink):
        losses = example_losses(model, inputs)
        wanted = [anchor, *parameters.values()] if unverified else [anchor]
        summed = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)
    missing = [name for name, parameter in parameters.items() if id(parameter) not in sink.seen]
    if missing:
        raise GradientError(
            f"no gradient of {_named(missing)} reached its tap in this batch: the layer was not used, or it was used "
            "around its module (DoRA, reentrant checkpointing, a compiled model). Use gradient_engine: sequential, "
            "or freeze it."
        )
    if unverified:
        tolerance = ROUNDED_TOLERANCE if sink.rounded else EXACT_TOLERANCE
        unverified -= _verified(layout, sink.gradients.sum(0), summed[1:], tolerance)
    return PerExampleGradients(losses.detach().float(), sink.gradients)


def tapped_layers(model: nn.Module, layout: GradientLayout) -> list[nn.Linear]:
    """The linear layers whose weights or biases are trained.

    Raises:
        GradientError: Another module has a trainable parameter of its own; the message names it.
    """
    names = {id(parameter): name for name, parameter in layout.parameters(model).items()}
    layers, uncovered = [], []
    for module in model.modules():
        own = [names[id(parameter)] for parameter in module.parameters(recurse=False) if id(parameter) in names]
        if own and isinstance(module, nn.Linear):
            layers.append(module)
        elif own:
            uncovered += [f"{name} ({type(module).__name__})" for name in own]
    if uncovered:
        raise GradientError(
            f"{_named(uncovered)} is trainable but is not the weight or bias of a linear layer, so gradient_engine: "
            "taps cannot see its per-example gradients. Freeze it (LoRA: drop modules_to_save, "
            "trainable_token_indices and use_dora; full fine-tuning: pass a peft_config), or set gradient_engine: "
            "sequential, which is slower."
        )
    return layers


@contextmanager
def _taps(layers: list[nn.Linear], anchor: Tensor, sink: _Sink) -> Iterator[None]:
    def tap(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Any:
        return _Tap.apply(output, args[0] if args else kwargs["input"], anchor, sink, layer)

    hooks = [layer.register_forward_hook(tap, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _verified(
    layout: GradientLayout, summed: Tensor, expected: tuple[Tensor | None, ...], tolerance: float
) -> set[str]:
    """Names of the parameters whose gradient is not zero and agrees with autograd's."""
    verified = set()
    for (name, piece), true in zip(layout.pieces(summed), expected, strict=True):
        reference = torch.zeros_like(piece) if true is None else true.float()
        if not torch.isfinite(reference).all() or not torch.isfinite(piece).all():
            continue  # the caller reports such gradients with the rows that they come from
        norm = reference.norm()
        difference = (piece - reference).norm() / norm.clamp(min=1e-8)
        if difference > tolerance:
            raise GradientError(
                f"the per-example gradients of {name} do not add up to autograd's (relative difference "
                f"{difference:.1e}): the model uses it outside its layer. Set gradient_engine: sequential."
            )
        if norm > 0:
            verified.add(name)
    return verified


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
