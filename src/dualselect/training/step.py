"""The examples of one optimizer step, collected over its micro-batches.

Shapes: n examples in the step, P trainable parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.gradients import GradientLayout, Materialise, Score, Sink, Sum
from dualselect.gradients.layout import ExampleLosses
from dualselect.models.losses import response_cross_entropy
from dualselect.models.response_states import ResponseStates
from dualselect.models.segments import examples_of, supervised_counts
from dualselect.selection import Probe, corrected
from dualselect.system.processes import gathered, process_index, total_of
from dualselect.training.config import DualSelectConfig
from dualselect.training.gradient_storage import Storage
from dualselect.training.refresh import Directions


@dataclass(frozen=True)
class ExampleStats:
    """Statistics of each example of a step, for the selection; tensors of shape (n,), float64, on the CPU.

    Attributes:
        losses: Mean cross-entropy over the example's supervised tokens.
        cosines: Lowest cosine of the example's gradient to a side's reference direction; 0 during the warm-up.
        probe_scores: What the filter's probe says of the example's response; 0 without a probe.
        gradient_norms: Norm of the example's gradient.
        tokens: Number of supervised tokens of the example.
        rows: Row index of the example, n integers.
    """

    losses: Tensor
    cosines: Tensor
    probe_scores: Tensor
    gradient_norms: Tensor
    tokens: Tensor
    rows: list[int]

    @property
    def finite(self) -> Tensor:
        """Whether the loss and the gradient of each example are finite, shape (n,)."""
        return torch.isfinite(self.losses + self.gradient_norms)

    def at(self, positions: Sequence[int]) -> "ExampleStats":
        """The statistics of the examples at these positions, in the same order."""
        at = list(positions)
        rows = [self.rows[position] for position in at]
        numbers = (self.losses, self.cosines, self.probe_scores, self.gradient_norms, self.tokens)
        losses, cosines, probe_scores, norms, tokens = (values[at] for values in numbers)
        return ExampleStats(losses, cosines, probe_scores, norms, tokens, rows)


RunGradients = Callable[[nn.Module, Mapping[str, Any], ExampleLosses, Sequence[Sink]], Tensor]
"""Maps a model, a batch, its losses and sinks to the loss of each example, (B,); the sinks collect the gradients."""


@dataclass
class _MicroBatch:
    """A micro-batch of B examples: `gradients` (B, P) if they are kept, otherwise `inputs` to recompute them."""

    losses: Tensor
    score: Score
    probe_scores: Tensor
    tokens: Tensor
    rows: Tensor
    gradients: Tensor | None
    inputs: Mapping[str, Any] | None


class StepExamples:
    """The examples of the micro-batches of one optimizer step.

    Examples are scored layer by layer in the backward pass, so the choice does not depend on the storage.

    Args:
        layout: The layout of the trainable parameters.
        run: The gradient engine.
        storage: Where gradients are kept until the choice (`choose_storage`).
        dtype: Precision of the gradients that are kept.
        states: Reads the responses for the probe of the filter; None without one.
    """

    def __init__(
        self,
        layout: GradientLayout,
        run: RunGradients,
        storage: Storage,
        dtype: torch.dtype,
        states: ResponseStates | None = None,
    ) -> None:
        self._layout, self._run, self._storage, self._dtype = layout, run, storage, dtype
        self._states = states
        self._parts: list[_MicroBatch] = []
        self._own: list[Tensor] = []  # positions of the examples of each micro-batch in `stats`

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        example_losses: ExampleLosses,
        rows: Tensor,
        direction: Tensor | None,
        probe: Probe | None = None,
    ) -> None:
        """Forward and backward pass of a micro-batch of B examples.

        Args:
            model: The model.
            inputs: The model's inputs for the batch.
            example_losses: Maps model and inputs to losses of shape (B,).
            rows: Row index of each example, shape (B,).
            direction: Reference directions for the cosines, shape (S, P); None during the warm-up.
            probe: The probe of the filter; None during the warm-up or without one.
        """
        if probe is not None and self._states is not None:
            example_losses = self._states.during(example_losses)
        score = Score(self._layout, len(rows), direction)
        tokens = supervised_counts(inputs)
        if self._storage == "recompute":
            losses = self._run(model, inputs, example_losses, [score])
            self._parts.append(_MicroBatch(losses, score, self._probed(probe, losses), tokens, rows, None, inputs))
            return
        device = torch.device("cpu") if self._storage == "host" else None
        kept = Materialise(self._layout, len(rows), dtype=self._dtype, device=device)
        losses = self._run(model, inputs, example_losses, [score, kept])
        probed = self._probed(probe, losses)
        self._parts.append(_MicroBatch(losses, score, probed, tokens, rows, kept.gradients, None))

    def _probed(self, probe: Probe | None, losses: Tensor) -> Tensor:
        if probe is None or self._states is None:
            return torch.zeros_like(losses)
        return probe.scores(self._states.take()).to(losses)

    def stats(self, repeated: int = 0, packed: Sequence[Sequence[int]] | None = None) -> ExampleStats:
        """Concatenate the statistics of the examples of all processes, in the order of the data.

        The order is by micro-batch, then process, then position in the batch. It does not depend on how the step was
        split. This makes one device-to-host copy.

        Args:
            repeated: Rows of the loader at the end of the step that accelerate repeats from earlier ones. Their
                examples are left out.
            packed: Numbers of the examples in each row of the loader; None if each is one example.
        """
        numbers = []
        for part in self._parts:
            cosine = part.score.cosines.amin(0) if len(part.score.cosines) else torch.zeros_like(part.losses)
            values = [part.losses, cosine, part.probe_scores, part.score.norms, part.tokens.float()]
            numbers.append(torch.stack(values))
        sizes = [len(part.rows) for part in self._parts]
        own = torch.cat(numbers, dim=1).cpu().double().split(sizes, dim=1)
        rows = torch.cat([part.rows for part in self._parts]).cpu().split(sizes)
        parts, all_rows, self._own, start = [], [], [], 0
        for micro_batch in zip(*gathered(list(zip(own, rows, strict=True))), strict=True):
            for process, (values, indices) in enumerate(micro_batch):
                if process == process_index():
                    self._own.append(torch.arange(start, start + len(indices)))
                start += len(indices)
                parts.append(values)
                all_rows += indices.tolist()
        count = start
        if repeated:
            firsts = None if packed is None else {numbers[0] for numbers in packed}
            begins = [position for position, row in enumerate(all_rows) if firsts is None or row in firsts]
            count = begins[-repeated]
        losses, cosine, probed, norms, counts = torch.cat(parts, dim=1)[:, :count]
        return ExampleStats(losses, cosine, probed, norms, counts, all_rows[:count])

    def weighted_sum(self, model: nn.Module, weights: Tensor) -> Tensor:
        """Weighted sum of the gradients of all processes' examples, shape (P,). Call `stats` first.

        Args:
            model: The model, for `recompute`.
            weights: One weight per example, shape (n,). A gradient with weight 0 is left out, even if not finite.
        """
        repeated = max(0, 1 + max(int(own[-1]) for own in self._own) - len(weights))
        weights = torch.cat([weights, weights.new_zeros(repeated)])
        total = self._layout.zeros()
        for part, own in zip(self._parts, self._own, strict=True):
            shares = weights[own].float().to(self._layout.device)
            used = shares.nonzero().flatten()
            if not len(used):
                continue
            if part.gradients is not None:
                kept = part.gradients[used.to(part.gradients.device)].to(self._layout.device)
                total += shares[used] @ kept.float()
            else:
                assert part.inputs is not None
                sink = Sum(self._layout, shares[used], total[None])
                self._run(model, examples_of(part.inputs, used), response_cross_entropy, [sink])
        return total_of(total)


def corrected_update(
    task_gradient: Tensor, directions: Directions | None, config: DualSelectConfig, rhos: list[float] | None
) -> tuple[Tensor, dict[str, float]]:
    """Correct the task gradient, shape (P,), by the reference direction of each side.

    Args:
        task_gradient: Shape (P,).
        directions: Directions of the selected references; None during the warm-up, which applies no correction.
        config: Settings.
        rhos: The strength for each side with `rho: auto`, relative to |g_task| / |g_ref|; None for a fixed one.

    Returns:
        The update, shape (P,), the same tensor as the task gradient if nothing is added; norms for the log.
    """
    norms = {"task_gradient_norm": task_gradient.norm().item()}
    update = task_gradient
    if directions is not None:
        update = corrected(
            task_gradient,
            directions.correction,
            mode=config.correction,
            rho=rhos or config.fixed_rho or 0.0,
            rho_mode="relative" if rhos else config.rho_mode,
        )
        norms["reference_direction_norm"] = directions.correction.norm().item()
    norms["update_norm"] = update.norm().item()
    return update, norms
