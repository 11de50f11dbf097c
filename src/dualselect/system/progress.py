"""Progress bars of training, with one short line per log, and of work in batches; metrics.jsonl has all metrics."""

from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments

from dualselect.system.processes import is_main_process


# displayed metrics, by name in the log
SHOWN = {
    "loss": "loss",
    "dualselect/kept_fraction": "rows kept",
    "dualselect/kept_token_fraction": "tokens kept",
    "dualselect/task_cosine": "cosine to references",
    "grad_norm": "gradient norm",
    "eval_loss": "evaluation loss",
}
SHARES = {"dualselect/kept_fraction", "dualselect/kept_token_fraction"}


class ShortProgress(ProgressCallback):
    """The progress bar of transformers with few metrics."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Write one line above the bar if the log has a displayed metric."""
        metrics = [
            f"{SHOWN[name]} {value:.0%}" if name in SHARES else f"{SHOWN[name]} {value:.3g}"
            for name, value in (logs or {}).items()
            if name in SHOWN
        ]
        if metrics and self.training_bar is not None:
            self.training_bar.write(f"step {state.global_step}: {', '.join(metrics)}")


def in_batches(
    positions: Sequence[int], size: int, *, description: str, unit: str, quiet: bool
) -> Iterator[list[int]]:
    """Split positions into batches, with a progress bar.

    Args:
        positions: Positions of rows.
        size: Batch size, 1 or more.
        description: Title of the bar.
        unit: Unit of a position.
        quiet: No progress bar; there is none in any but the main process.
    """
    quiet = quiet or not is_main_process()
    with tqdm(total=len(positions), desc=description, unit=unit, leave=False, disable=quiet) as bar:
        for start in range(0, len(positions), size):
            batch = list(positions[start : start + size])
            yield batch
            bar.update(len(batch))
