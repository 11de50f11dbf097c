"""Sinks: what is kept of the per-example gradients that the taps see.

A sink is made for one batch of B examples. It gets the gradients layer by layer from the taps or, from the sequential
engine, example by example. Both ways give the same result.

Shapes: B examples, P trainable parameters, D directions, C sums, K buckets.
"""

import torch
from torch import Tensor

from dualselect.gradients.count_sketch import CountSketch
from dualselect.gradients.layer_pass import LayerPass
from dualselect.gradients.layout import GradientLayout, cosines_of


class Sink:
    """Keeps something of the gradients of one batch."""

    def collect(self, layer_pass: LayerPass) -> None:
        """Add what one call of a layer contributes."""
        layer = layer_pass.layer
        if layer.weight is not None:
            self._add_weight(layer.weight, layer_pass)
        if layer.bias is not None:
            self._add(layer.bias, layer_pass.bias_gradients, layer_pass.partial)

    def add_example(self, example: int, gradient: Tensor) -> None:
        """Add the whole gradient, shape (P,), of one example."""
        raise NotImplementedError

    def finish(self) -> None:
        """Called once, after the backward."""

    def _add_weight(self, stretch: slice, layer_pass: LayerPass) -> None:
        self._add(stretch, layer_pass.weight_gradients.flatten(1), layer_pass.partial)

    def _add(self, stretch: slice, gradients: Tensor, partial: bool) -> None:
        """Add the gradients of one parameter, shape (B, its size), or what one of several calls adds to them."""
        raise NotImplementedError


class Materialise(Sink):
    """The gradients themselves: G_b, shape (B, P).

    Args:
        layout: The layout of the trainable parameters.
        examples: B.
        dtype: float32, or bfloat16 for half the memory.
        device: Where they are kept; None for the device of the parameters. Host memory of a GPU's gradients is pinned.
    """

    def __init__(
        self,
        layout: GradientLayout,
        examples: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        device = layout.device if device is None else device
        pinned = device.type == "cpu" and layout.device.type == "cuda"
        self.gradients = torch.zeros(examples, layout.size, dtype=dtype, device=device, pin_memory=pinned)

    def add_example(self, example: int, gradient: Tensor) -> None:  # noqa: D102 - see Sink
        self.gradients[example] = gradient.to(self.gradients.device)

    def finish(self) -> None:  # noqa: D102 - see Sink
        if self.gradients.is_pinned():
            torch.cuda.synchronize()  # copies to pinned memory do not block

    def _add(self, stretch: slice, gradients: Tensor, partial: bool) -> None:
        if partial:
            self.gradients[:, stretch] += gradients.to(self.gradients)
        else:
            self.gradients[:, stretch].copy_(gradients, non_blocking=True)


class Score(Sink):
    """Dots with directions and squared norms: <G_b, d> and ||G_b||^2, layer by layer; nothing of size B x P.

    Both are sums over the parameters. A parameter that is used twice needs the norm of the sum of its products, so
    these are held until the backward is over. Norms come from Gram matrices where these are cheaper.

    Args:
        layout: The layout of the trainable parameters.
        examples: B, the number of examples, or of pairs.
        directions: Shape (D, P) or (P,); None for norms alone.
        pairs: Rows 2k and 2k + 1 of the batch are one pair; G_k is the first one's gradient minus the second one's.

    Attributes:
        dots: Shape (D, B), float32.
        squared_norms: Shape (B,), float32.
    """

    def __init__(
        self, layout: GradientLayout, examples: int, directions: Tensor | None = None, *, pairs: bool = False
    ) -> None:
        self._directions = layout.zeros(0) if directions is None else directions.reshape(-1, layout.size)
        self._pairs, self._first_of_pair = pairs, torch.empty(0)
        self._held: dict[int, Tensor] = {}  # by where the parameter begins in the flat vector
        self.dots = torch.zeros(len(self._directions), examples, device=layout.device)
        self.squared_norms = torch.zeros(examples, device=layout.device)

    @property
    def norms(self) -> Tensor:
        """||G_b||, shape (B,)."""
        return self.squared_norms.clamp(min=0).sqrt()

    @property
    def cosines(self) -> Tensor:
        """Cosine of each gradient to each direction, shape (D, B), in [-1, 1]; 0 where a norm is below the floor."""
        return cosines_of(self.dots, self.norms, torch.linalg.vector_norm(self._directions, dim=1)[:, None])

    def collect(self, layer_pass: LayerPass) -> None:  # noqa: D102 - see Sink
        super().collect(layer_pass.pair_differences() if self._pairs else layer_pass)

    def add_example(self, example: int, gradient: Tensor) -> None:  # noqa: D102 - see Sink
        if self._pairs and example % 2 == 0:
            self._first_of_pair = gradient
            return
        if self._pairs:
            gradient, example = self._first_of_pair - gradient, example // 2
        self.dots[:, example] = self._directions @ gradient
        self.squared_norms[example] = gradient @ gradient

    def finish(self) -> None:  # noqa: D102 - see Sink
        for gradients in self._held.values():
            self.squared_norms += gradients.square().sum(1)
        self._held.clear()

    def _add_weight(self, stretch: slice, layer_pass: LayerPass) -> None:
        if layer_pass.partial or not layer_pass.gram_is_cheaper:
            super()._add_weight(stretch, layer_pass)
        else:
            if len(self._directions):
                self.dots += layer_pass.weight_dots(self._directions[:, stretch])
            self.squared_norms += layer_pass.squared_weight_norms()

    def _add(self, stretch: slice, gradients: Tensor, partial: bool) -> None:
        gradients = gradients.float()
        self.dots += self._directions[:, stretch] @ gradients.T
        if partial:
            held = self._held.get(stretch.start)
            self._held[stretch.start] = gradients if held is None else held + gradients
        else:
            self.squared_norms += gradients.square().sum(1)


class Sum(Sink):
    """Weighted sums over the examples: sum_b w_cb G_b, shape (C, P).

    Args:
        layout: The layout of the trainable parameters.
        weights: Shape (B,) for one sum, or (C, B). An example whose weights are all 0 is left out, also if its
            gradient is not finite.
        total: Shape (C, P), float32, to add the sums to; None to begin at 0.

    Attributes:
        total: Shape (C, P), float32.
    """

    def __init__(self, layout: GradientLayout, weights: Tensor, total: Tensor | None = None) -> None:
        self._weights = weights.reshape(-1, weights.shape[-1]).float().to(layout.device)
        self._used = (self._weights != 0).any(0).nonzero().flatten()  # 0 times NaN is NaN
        self.total = layout.zeros(len(self._weights)) if total is None else total

    def add_example(self, example: int, gradient: Tensor) -> None:  # noqa: D102 - see Sink
        if self._weights[:, example].any():
            self.total += self._weights[:, example, None] * gradient

    def _add_weight(self, stretch: slice, layer_pass: LayerPass) -> None:
        if len(self._weights) > 1:
            super()._add_weight(stretch, layer_pass)
            return
        x, g, of_token = layer_pass.tokens_of(self._used)
        weighted = g * self._weights[0, of_token, None].to(g.dtype)
        self.total[0, stretch] += (weighted.T @ x).flatten()

    def _add(self, stretch: slice, gradients: Tensor, partial: bool) -> None:
        self.total[:, stretch] += self._weights[:, self._used] @ gradients[self._used].float()


class Sketch(Sink):
    """A count-sketch of each gradient: S G_b, shape (B, K).

    Args:
        count_sketch: S.
        examples: B.

    Attributes:
        sketches: Shape (B, K), float32.
    """

    def __init__(self, count_sketch: CountSketch, examples: int) -> None:
        self._count_sketch = count_sketch
        self.sketches = count_sketch.zeros(examples)

    def add_example(self, example: int, gradient: Tensor) -> None:  # noqa: D102 - see Sink
        self._count_sketch.add(self.sketches[example : example + 1], gradient[None], slice(0, None))

    def _add(self, stretch: slice, gradients: Tensor, partial: bool) -> None:
        self._count_sketch.add(self.sketches, gradients.float(), stretch)
