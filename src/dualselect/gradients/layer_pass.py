"""One backward pass through one trainable linear layer, and the products that the sinks take from it.

Shapes: B examples, T tokens of a padded example, N tokens of all packed examples, i inputs and o outputs of the layer.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dualselect.models.segments import Segments


@dataclass(frozen=True)
class TappedLayer:
    """A linear layer and where its trainable parameters lie in the flat gradient.

    Attributes:
        module: The layer.
        weight: Stretch of its weight; None if it is frozen.
        bias: Stretch of its bias; None if it is frozen or missing.
    """

    module: nn.Linear
    weight: slice | None
    bias: slice | None

    @property
    def stretches(self) -> list[slice]:
        """The stretches of its trainable parameters."""
        return [stretch for stretch in (self.weight, self.bias) if stretch is not None]


@dataclass(frozen=True)
class LayerPass:
    """What one call of a layer contributes to the gradients of its parameters.

    The gradient of example b is dW_b = sum_t g_bt x_bt^T and dbias_b = sum_t g_bt, over its own tokens t.

    Attributes:
        layer: The layer.
        inputs: x, shape (B, T, i); (1, N, i) for packed examples.
        gradients: g, the gradient of the summed losses by the layer's output, shape (B, T, o) or (1, N, o).
        segments: Of packed examples; None for padded examples.
        partial: Whether a parameter of the layer gets more in this backward than this one call contributes: the
            layer is called again, or shares its weight.
    """

    layer: TappedLayer
    inputs: Tensor
    gradients: Tensor
    segments: Segments | None
    partial: bool

    @cached_property
    def weight_gradients(self) -> Tensor:
        """Weight gradient of each example, shape (B, o, i)."""
        if self.segments is None:
            return torch.bmm(self.gradients.transpose(1, 2), self.inputs)
        return torch.stack([g.T @ x for g, x in self._parts])

    @cached_property
    def bias_gradients(self) -> Tensor:
        """Bias gradient of each example, shape (B, o), float32."""
        return self.per_example(self.gradients)

    def per_example(self, values: Tensor) -> Tensor:
        """Sum over the tokens of each example: (B, T, ...) or (1, N, ...) to (B, ...), float32."""
        if self.segments is None:
            return values.sum(1, dtype=torch.float32)
        total = torch.zeros(len(self.segments), *values.shape[2:], device=values.device)
        return total.index_add_(0, self.segments.of_token, values[0].float())

    def tokens_of(self, examples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All tokens of some examples.

        Args:
            examples: Their indices, ascending, shape (E,).

        Returns:
            x, shape (tokens, i); g, shape (tokens, o); and the example of each token, shape (tokens,).
        """
        if self.segments is None:
            of_token = examples.repeat_interleave(self.inputs.shape[1])
            return self.inputs[examples].flatten(0, 1), self.gradients[examples].flatten(0, 1), of_token
        chosen = torch.isin(self.segments.of_token, examples)
        return self.inputs[0, chosen], self.gradients[0, chosen], self.segments.of_token[chosen]

    @property
    def _parts(self) -> list[tuple[Tensor, Tensor]]:
        """g, shape (tokens, o), and x, shape (tokens, i), of each packed example."""
        assert self.segments is not None
        sizes = self.segments.sizes
        return [*zip(self.gradients[0].split(sizes), self.inputs[0].split(sizes), strict=True)]

    def weight_dots(self, directions: Tensor) -> Tensor:
        """<dW_b, D> = sum_t g_t . (D x_t), without dW.

        Args:
            directions: The weight's stretch of one or more directions, shape (D, o i).

        Returns:
            Shape (D, B), float32.
        """
        shape = self.gradients.shape[-1], self.inputs.shape[-1]
        moved = [self.gradients @ direction.view(shape).to(self.gradients.dtype) for direction in directions]
        return torch.stack([self.per_example((one * self.inputs).sum(-1, dtype=torch.float32)) for one in moved])

    def squared_weight_norms(self) -> Tensor:
        """||dW_b||^2 = sum_{t,s} (g_t . g_s)(x_t . x_s), by Gram matrices, without dW; shape (B,), float32."""
        if self.segments is None:
            return (_gram(self.gradients) * _gram(self.inputs)).sum((1, 2))
        return torch.stack([(_gram(g[None]) * _gram(x[None])).sum() for g, x in self._parts])

    @property
    def gram_is_cheaper(self) -> bool:
        """Whether Gram matrices take fewer operations than dW: T (i + o) < i o."""
        tokens, inputs, outputs = self.inputs.shape[1], self.inputs.shape[2], self.gradients.shape[2]
        pairs = tokens * tokens if self.segments is None else sum(size * size for size in self.segments.sizes)
        return pairs * (inputs + outputs) < tokens * inputs * outputs

    def pair_differences(self) -> "LayerPass":
        """Rows 2k and 2k + 1 as one example whose gradient is the first row's minus the second row's.

        Returns:
            A pass of B / 2 examples of 2T tokens. Padded examples only.
        """
        assert self.segments is None
        sign = self.gradients.new_tensor([1.0, -1.0]).repeat(len(self.gradients) // 2)[:, None, None]
        inputs, gradients = self.inputs, self.gradients * sign
        return LayerPass(
            self.layer,
            inputs.reshape(len(inputs) // 2, -1, inputs.shape[-1]),
            gradients.reshape(len(inputs) // 2, -1, gradients.shape[-1]),
            None,
            self.partial,
        )


def _gram(values: Tensor) -> Tensor:
    """Dot products of the tokens of a row with each other: (B, T, d) to (B, T, T), float32."""
    return torch.bmm(values, values.transpose(1, 2)).float()
