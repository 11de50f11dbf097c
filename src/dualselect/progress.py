"""The progress bar of a run, with one short line per log; metrics.jsonl has all of it."""

from typing import Any

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
        told = [f"{SHOWN[name]} {value:.3g}" for name, value in (logs or {}).items() if name in SHOWN]
        if told and self.training_bar is not None:
            self.training_bar.write(f"step {state.global_step}: {', '.join(told)}")
