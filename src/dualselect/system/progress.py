"""Progress bars: of a run, with one short line per log, since metrics.jsonl has all of it; and of work in batches."""

from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments


# What is shown of a log: its name there, its name here.
SHOWN = {
    "loss": "loss",
    "dualselect/kept_fraction": "rows kept",
    "dualselect/kept_token_fraction": "tokens kept",
    "dualselect/task_cosine": "cosine to references",
    "grad_norm": "gradient norm",
    "eval_loss": "evaluation loss",
}


class ShortProgress(ProgressCallback):
    """The bar of transformers, without the numbers that only a file needs."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Write one line above the bar; none for a log without any of the numbers shown."""
        numbers = [f"{SHOWN[name]} {_shown(name, value)}" for name, value in (logs or {}).items() if name in SHOWN]
        if numbers and self.training_bar is not None:
            self.training_bar.write(f"step {state.global_step}: {', '.join(numbers)}")


def _shown(name: str, value: float) -> str:
    return f"{value:.0%}" if name.endswith("_fraction") else f"{value:.3g}"


def in_batches(
    positions: Sequence[int], size: int, *, description: str, unit: str, quiet: bool
) -> Iterator[list[int]]:
    """Positions in batches, with a bar that moves by positions as each batch is done.

    Args:
        positions: Of rows.
        size: Of a batch, 1 or more.
        description: What the bar says.
        unit: What a position is.
        quiet: Whether there is no bar.
    """
    with tqdm(total=len(positions), desc=description, unit=unit, leave=False, disable=quiet) as bar:
        for start in range(0, len(positions), size):
            batch = list(positions[start : start + size])
            yield batch
            bar.update(len(batch))
