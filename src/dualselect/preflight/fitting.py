"""What to change so that a run fits into less memory, with the arithmetic.

The peak of a step is what is in use between two steps, plus the per-example gradients of the rows of the step, plus
the activations of one micro-batch of the longest rows, which grow with the rows of the micro-batch. With
`gradient_storage: recompute`, no gradients are kept, and the peak does not grow with the rows of the step. The peak of
a refresh is what is in use, plus what one batch of references needs.
"""

from dataclasses import dataclass, replace

from dualselect.preflight.disk import in_units
from dualselect.preflight.measuring import Measured
from dualselect.training.config import DualSelectConfig


RECOMPUTE = "gradient_storage: recompute, "
CHECKPOINTING = "gradient_checkpointing: true, "


@dataclass(frozen=True)
class MemoryParts:
    """Parts of the peak memory, in bytes.

    Attributes:
        settled: Memory between two steps: model, rows, optimizer, directions.
        rows: Task rows of one optimizer step.
        row_gradients: Per-example gradients of one row; 0 where they are not kept in this memory.
        micro_batch: Task rows in one forward and backward.
        activations: Of one micro-batch of the longest rows.
        reference_batch: References in one forward and backward.
        reference_work: What such a batch needs.
    """

    settled: int
    rows: int
    row_gradients: int
    micro_batch: int
    activations: int
    reference_batch: int
    reference_work: int

    @classmethod
    def of(cls, measured: Measured, config: DualSelectConfig) -> "MemoryParts":
        """Split measured peaks into parts.

        Args:
            measured: Peaks of steps at full accumulation and of a refresh.
            config: The settings that were measured.
        """
        micro_batch = config.per_device_train_batch_size
        rows = micro_batch * config.gradient_accumulation_steps
        above = max(0, measured.step_memory - measured.settled_memory)
        gradients = min(above // rows, measured.row_gradients)
        return cls(
            settled=measured.settled_memory,
            rows=rows,
            row_gradients=gradients,
            micro_batch=micro_batch,
            activations=above - rows * gradients,
            reference_batch=config.reference_micro_batch_size,
            reference_work=max(0, measured.refresh_memory - measured.settled_memory),
        )

    def without_gradients(self) -> "MemoryParts":
        """The same parts without stored per-example gradients."""
        return replace(self, row_gradients=0)

    def step(self, rows: int, micro_batch: int) -> int:
        """Peak of a step of `rows` rows in micro-batches."""
        return self.settled + rows * self.row_gradients + self.activations * micro_batch // self.micro_batch

    def refresh(self, batch: int) -> int:
        """Peak of a refresh in batches of `batch` references."""
        return self.settled + self.reference_work * batch // self.reference_batch

    def describe(self) -> list[str]:
        """The arithmetic of both peaks."""
        return [
            f"step: {self._sum_of_step(self.rows, self.micro_batch)}",
            f"refresh: {self._sum_of_refresh(self.reference_batch)}",
        ]

    def _sum_of_step(self, rows: int, micro_batch: int) -> str:
        activations = self.activations // self.micro_batch
        return (
            f"{in_units(self.settled)} in use + {rows} rows x {in_units(self.row_gradients)} gradients + "
            f"{micro_batch} rows x {in_units(activations)} activations = {in_units(self.step(rows, micro_batch))}"
        )

    def _sum_of_refresh(self, batch: int) -> str:
        work = self.reference_work // self.reference_batch
        peak = in_units(self.refresh(batch))
        return f"{in_units(self.settled)} in use + {batch} references x {in_units(work)} = {peak}"


def changes_to_fit(parts: MemoryParts, memory: int, checkpointed: MemoryParts | None) -> list[str]:
    """What to change so that the peaks stay within some memory.

    Args:
        parts: What was measured.
        memory: The memory, in bytes.
        checkpointed: The same with gradient checkpointing; None where it is on already or was not measured.

    Returns:
        One line for each change, with its arithmetic; a line that says that nothing needs to change; or why nothing
        of this is enough.
    """
    peak = max(parts.step(parts.rows, parts.micro_batch), parts.refresh(parts.reference_batch))
    if peak <= memory:
        return [f"nothing: the peak of {in_units(peak)} fits into {in_units(memory)}"]
    if parts.settled >= memory:
        return [
            f"{in_units(parts.settled)} are in use between two steps, which is more than {in_units(memory)}: smaller "
            "batches do not help. Take a smaller model, dtype: bfloat16 or load_in_4bit: true (both with a GPU), a "
            "lower lora_r or fewer lora_target_modules, or fewer rows"
        ]
    return [*_step_changes(parts, memory, checkpointed), *_refresh_changes(parts, memory)]


def _step_changes(parts: MemoryParts, memory: int, checkpointed: MemoryParts | None) -> list[str]:
    if parts.step(parts.rows, parts.micro_batch) <= memory:
        return []
    tried: dict[str, MemoryParts] = {"": parts}
    if parts.row_gradients:
        tried[RECOMPUTE] = parts.without_gradients()
    if checkpointed is not None:
        tried[CHECKPOINTING] = checkpointed
        if checkpointed.row_gradients:
            tried[CHECKPOINTING + RECOMPUTE] = checkpointed.without_gradients()
    for also, candidate in tried.items():
        for size in _divisors(candidate.rows, candidate.micro_batch):
            if candidate.step(candidate.rows, size) <= memory:
                return [
                    f"{also}per_device_train_batch_size: {size}, gradient_accumulation_steps: "
                    f"{candidate.rows // size} (as many rows per step): {candidate._sum_of_step(candidate.rows, size)}"
                ]
    least = list(tried.values())[-1]
    return [
        f"one row per step needs more than {in_units(memory)} ({least._sum_of_step(1, 1)}): lower max_length, to "
        "which the activations are about proportional, or take a smaller model"
    ]


def _refresh_changes(parts: MemoryParts, memory: int) -> list[str]:
    if parts.refresh(parts.reference_batch) <= memory:
        return []
    for size in range(parts.reference_batch - 1, 0, -1):
        if parts.refresh(size) <= memory:
            return [f"reference_batch_size: {size}: {parts._sum_of_refresh(size)}"]
    return [
        f"a refresh in batches of one needs more than {in_units(memory)} ({parts._sum_of_refresh(1)}): shorten the "
        "references, or lower max_length"
    ]


def _divisors(rows: int, most: int) -> list[int]:
    return [size for size in range(most, 0, -1) if rows % size == 0]
