"""Taps: what autograd would multiply into each weight gradient, seen example by example in one backward.

Shapes: B examples, T tokens, i inputs and o outputs of a linear layer, P trainable parameters.

A tap is an identity on the output of each trainable linear layer. In the backward pass it sees the layer's input x
(B, T, i) and the gradient of its output g (B, T, o), and hands both to the sinks (`sinks.py`), which decide what is
kept. All taps share a dummy scalar, the anchor. Differentiating with respect to the anchor alone runs every tap and no
weight gradient: `.grad` is never touched and the summed weight gradients cost nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.errors import GradientError
from dualselect.gradients.layer_pass import LayerPass, TappedLayer
from dualselect.gradients.layout import ExampleLosses, GradientLayout
from dualselect.gradients.sinks import Sink, Sum
from dualselect.models.segments import Segments


EXACT_TOLERANCE, ROUNDED_TOLERANCE = 1e-3, 0.1
"""Relative difference to autograd that is accepted in float32, and where anything is rounded to fewer bits."""


class Taps:
    """The taps of a model, built once.

    Args:
        model: Its trainable parameters are weights and biases of `nn.Linear` layers (LoRA A and B are).
        layout: The layout of the trainable parameters.

    Raises:
        GradientError: A trainable parameter does not belong to a linear layer; the message names it.
    """

    def __init__(self, model: nn.Module, layout: GradientLayout) -> None:
        self.layout = layout
        self._layers = tapped_layers(model, layout)

    def run(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        example_losses: ExampleLosses,
        sinks: Sequence[Sink],
        *,
        unverified: set[str] | None = None,
    ) -> Tensor:
        """One batched forward and backward; the sinks collect exact per-example gradients.

        Works with padding on either side, packed rows, dropout (the masks of this forward), non-reentrant gradient
        checkpointing and autocast. Leaves `.grad` and the model untouched.

        Args:
            model: The model of the taps.
            inputs: A batch of B examples as the model takes it. Packed rows have `position_ids` and shape (1, N).
            example_losses: From model and inputs to losses of shape (B,).
            sinks: Each made for this batch.
            unverified: Names of parameters to check: autograd computes their summed gradient in the same backward. A
                parameter leaves the set when both agree and the gradient is not zero (that of LoRA's A is zero until
                B has moved). None or empty for no check.

        Returns:
            Loss of each example, shape (B,), float32, detached.

        Raises:
            GradientError: A trainable parameter was not used through its layer in this batch, or its per-example
                gradients do not add up to autograd's; the message names it.
        """
        parameters = self.layout.parameters(model)
        anchor = torch.zeros((), device=self.layout.device, requires_grad=True)
        segments = Segments.of(inputs)
        recorder = _Recorder(len(inputs["input_ids"] if segments is None else segments), segments, [*sinks])
        summed = Sum(self.layout, torch.ones(recorder.examples)) if unverified else None
        if summed is not None:
            recorder.sinks.append(summed)
        with torch.enable_grad(), _hooks(self._layers, anchor, recorder):
            losses = example_losses(model, inputs)
            recorder.in_backward = True
            wanted = [anchor, *parameters.values()] if unverified else [anchor]
            expected = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)[1:]
        for sink in recorder.sinks:
            sink.finish()
        self._check_seen(recorder)
        if unverified and summed is not None:
            tolerance = ROUNDED_TOLERANCE if recorder.rounded else EXACT_TOLERANCE
            unverified -= _verified(self.layout, summed.total[0], expected, tolerance)
        return losses.detach().float()

    def _check_seen(self, recorder: "_Recorder") -> None:
        starts = [stretch.start for stretch in self.layout.slices]
        missing = [name for name, start in zip(self.layout.names, starts, strict=True) if start not in recorder.seen]
        if missing:
            raise GradientError(
                f"no gradient of {_named(missing)} reached its tap in this batch: the layer was not used, or it was "
                "used around its module (DoRA, reentrant checkpointing, a compiled model). Use gradient_engine: "
                "sequential, or freeze it."
            )


def tapped_layers(model: nn.Module, layout: GradientLayout) -> list[TappedLayer]:
    """The linear layers whose weights or biases are trained.

    Raises:
        GradientError: Another module has a trainable parameter of its own; the message names it.
    """
    slices = dict(zip(layout.names, layout.slices, strict=True))
    layers, uncovered = [], []
    for module, own in trainable_modules(model, layout):
        if isinstance(module, nn.Linear):
            stretches = {key: slices[name] for key, name in own.items()}
            layers.append(TappedLayer(module, stretches.get("weight"), stretches.get("bias")))
        else:
            uncovered += [f"{name} ({type(module).__name__})" for name in own.values()]
    if uncovered:
        raise GradientError(
            f"{_named(uncovered)} is trainable but is not the weight or bias of a linear layer, so gradient_engine: "
            "taps cannot see its per-example gradients. Freeze it (LoRA: drop modules_to_save, "
            "trainable_token_indices and use_dora; without an adapter: train linear layers alone), or set "
            "gradient_engine: sequential, which is slower."
        )
    return layers


def trainable_modules(model: nn.Module, layout: GradientLayout) -> Iterator[tuple[nn.Module, dict[str, str]]]:
    """Each module with trainable parameters of its own, and their names in the model by their names in the module."""
    names = {id(parameter): name for name, parameter in layout.parameters(model).items()}
    for module in model.modules():
        own = {
            key: names[id(parameter)]
            for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
            if id(parameter) in names
        }
        if own:
            yield module, own


class _Recorder:
    """Counts the calls of each layer and hands what its taps see to the sinks."""

    def __init__(self, examples: int, segments: Segments | None, sinks: list[Sink]) -> None:
        self.examples, self._segments, self.sinks = examples, segments, sinks
        self.in_backward = False
        self.seen: set[int] = set()  # where the parameters begin in the flat vector
        self.rounded = False  # whether any product was of fewer bits than float32
        self._calls: Counter[int] = Counter()

    def count(self, layer: TappedLayer) -> None:
        if not self.in_backward:  # gradient checkpointing calls the layer once more
            self._calls.update(stretch.start for stretch in layer.stretches)

    def collect(self, layer: TappedLayer, layer_input: Tensor, output_gradient: Tensor) -> None:
        rows = self.examples if self._segments is None else 1
        if layer_input.shape[0] != rows:
            raise GradientError(
                f"a {type(layer.module).__name__} layer was given an input of shape {tuple(layer_input.shape)} in a "
                f"batch of {rows} examples: its rows are not examples, so there are no per-example gradients. "
                "Use gradient_engine: sequential."
            )
        self.rounded |= output_gradient.dtype != torch.float32
        layer_pass = LayerPass(
            layer,
            layer_input.reshape(rows, -1, layer_input.shape[-1]),
            output_gradient.reshape(rows, -1, output_gradient.shape[-1]),
            self._segments,
            partial=any(self._calls[stretch.start] > 1 for stretch in layer.stretches),
        )
        for sink in self.sinks:
            sink.collect(layer_pass)
        self.seen.update(stretch.start for stretch in layer.stretches)


class _Tap(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: Tensor, layer_input: Tensor, anchor: Tensor, recorder: _Recorder, layer: TappedLayer
    ) -> Any:
        # autocast hands float32 inputs to a bfloat16 product; the copy that the product used is the one to keep
        ctx.save_for_backward(layer_input.to(output.dtype))
        ctx.recorder, ctx.layer = recorder, layer
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (output_gradient,) = gradients
        ctx.recorder.collect(ctx.layer, ctx.saved_tensors[0], output_gradient)
        return output_gradient, None, output_gradient.new_zeros(()), None, None


@contextmanager
def _hooks(layers: Sequence[TappedLayer], anchor: Tensor, recorder: _Recorder) -> Iterator[None]:
    def hook(layer: TappedLayer) -> Any:
        def tap(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Any:
            recorder.count(layer)
            return _Tap.apply(output, args[0] if args else kwargs["input"], anchor, recorder, layer)

        return tap

    handles = [layer.module.register_forward_hook(hook(layer), with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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
