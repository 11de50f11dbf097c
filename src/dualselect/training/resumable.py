"""`ResumableTrainer`: checkpoints with a manifest, and logs that a resumed run continues without a gap."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import nn
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import rotate_checkpoints

from dualselect.system.lock import folder_lock
from dualselect.system.processes import is_main_process, process_count, wait_for_all
from dualselect.training.checkpoints import check_logs, checkpoint_to_load, restore_logs, write_manifest
from dualselect.training.gradient_storage import has_dropout
from dualselect.training.length_groups import LengthGroups
from dualselect.training.output import OutputTrainer
from dualselect.training.resume_rule import deciding
from dualselect.training.token_counts import TokenCounts


logger = logging.getLogger(__name__)

NOT_IN_ADAPTER_RULE = {"base_model_name_or_path", "inference_mode", "revision", "auto_mapping", "peft_version"}


class ResumableTrainer(OutputTrainer):
    """A trainer whose checkpoints are verified before they are loaded."""

    _total_train_tokens: int
    _tr_loss: torch.Tensor

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._token_counts = TokenCounts()
        self._logging_before: dict[str, Any] = {}
        self._started = time.time()
        self.add_callback(_ContinueLogging(self))

    def train(self, resume_from_checkpoint: str | bool | None = None, *arguments: Any, **options: Any) -> Any:
        """Train as `SFTTrainer` does.

        Args:
            resume_from_checkpoint: True for the newest intact checkpoint of `output_dir`, or a folder.
            *arguments: As for `SFTTrainer`.
            **options: As for `SFTTrainer`.

        Raises:
            ResumeError: The checkpoint is damaged or from another run, or a log next to it has changed.
        """
        with folder_lock(self.args.output_dir):
            checkpoint = None
            if resume_from_checkpoint:
                checkpoint = checkpoint_to_load(
                    resume_from_checkpoint, self.args.output_dir, "start a new run without resume_from_checkpoint"
                )
                if self._is_of_output_dir(checkpoint):
                    check_logs(checkpoint)
            return super().train(None if checkpoint is None else str(checkpoint), *arguments, **options)

    def evaluate(self, *arguments: Any, **options: Any) -> Any:
        """Evaluate as `SFTTrainer` does, without changing the random state of the training."""
        with torch.random.fork_rng():
            return super().evaluate(*arguments, **options)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, with its token metrics, which are copied from the device once per log."""
        if self._token_counts.any:
            self._total_train_tokens, metrics = self._token_counts.take(self._total_train_tokens)
            self._metrics["train"].update({name: [value] for name, value in metrics.items()})
        super().log(logs, start_time)

    def _restore_logs(self, checkpoint: Any, first_log: Path) -> None:
        """Truncate the logs to a checkpoint; a new run starts with an empty selection log."""
        if not is_main_process():
            return
        if checkpoint is None:
            first_log.unlink(missing_ok=True)
        elif self._is_of_output_dir(Path(checkpoint)):
            restore_logs(checkpoint)

    def _is_of_output_dir(self, checkpoint: Path) -> bool:
        return checkpoint.resolve().parent == Path(self.args.output_dir).resolve()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        step, limit = self.state.global_step, self.args.save_total_limit
        # older checkpoints are deleted only after the new one is complete, so transformers must not delete them
        self.args.save_total_limit = None
        try:
            with explain_disk_full(step, self.args.output_dir):
                super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        wait_for_all()  # each process writes its random state
        if self.args.should_save:
            write_manifest(Path(self.args.output_dir) / f"checkpoint-{step}", step)
            rotate_checkpoints(
                output_dir=self.args.output_dir,
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )
        wait_for_all()

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The order of the rows: the same in every process and after a resume."""
        sampler = super()._get_train_sampler(train_dataset)
        if not isinstance(sampler, LengthGroupedSampler):
            return sampler
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return LengthGroups(
            sampler.lengths, sampler.batch_size * self.args.world_size, seed, lambda: int(self.state.epoch or 0)
        )

    def _load_rng_state(self, checkpoint: str | None) -> None:
        states = list(Path(checkpoint).glob("rng_state*.pth")) if checkpoint is not None else []
        if states and len(states) != process_count() and has_dropout(self.model) and is_main_process():
            logger.warning(
                "%s was saved by %d process(es) and %d go on: the rows of each step stay the same, and dropout draws "
                "other masks than it would have",
                checkpoint,
                len(states),
                process_count(),
            )
        super()._load_rng_state(checkpoint)

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        if (
            self.state.global_step >= self.state.max_steps
        ):  # stopped after the last step; transformers would do one more
            self.control.should_training_stop = True
            return
        super()._run_epoch(*arguments, **options)

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        # the summary covers the whole run, not only the part since the last stop
        self._initial_global_step = 0
        return super()._finalize_training(trial, num_train_samples, start_time - self._seconds_before)

    @property
    def _seconds_before(self) -> float:
        return float(self._logging_before.get("seconds", 0.0))

    def _logging_state(self) -> dict[str, Any]:
        """The sums that the next log line and the summary of the run depend on, as JSON."""
        return {
            "total_loss": self._total_loss_scalar,
            "loss": self._tr_loss.item(),
            "last_logged_step": self._globalstep_last_logged,
            "metrics": {name: list(values) for name, values in self._metrics["train"].items()},
            "tokens": self._total_train_tokens,
            "token_sums": self._token_counts.sums(),
            "seconds": self._seconds_before + time.time() - self._started,
        }

    def _continue_logging(self) -> None:
        self._started, before = time.time(), self._logging_before
        self._token_counts = TokenCounts(before.get("token_sums") if is_main_process() else None)
        self._total_train_tokens = before.get("tokens", 0)
        self._metrics["train"].clear()
        if before:
            self._total_loss_scalar = before["total_loss"]
            self._tr_loss = torch.full_like(self._tr_loss, before["loss"])
            self._globalstep_last_logged = before["last_logged_step"]
            self._metrics["train"].update(before["metrics"])

    def _deciding_settings(self) -> dict[str, Any]:
        """The settings and the adapter shape, which must not change when a run is resumed."""
        settings = {name: getattr(self.args, name) for name in self.args.__dataclass_fields__}
        found = deciding(settings, processes=self.args.world_size)
        if isinstance(self.model, PeftModel):
            adapter = self.model.peft_config[self.model.active_adapter].to_dict()
            adapter = {f"LoRA {name}": value for name, value in adapter.items() if name not in NOT_IN_ADAPTER_RULE}
            found |= deciding(adapter)
        return dict(json.loads(json.dumps(found)))


class _ContinueLogging(TrainerCallback):  # type: ignore[misc]
    """Restores the logging sums; transformers sets them to zero just before training begins, also on resume."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._trainer._continue_logging()


@contextmanager
def explain_disk_full(step: int, folder: str) -> Iterator[None]:
    """Turn the errors of torch and safetensors for a full disk, while a checkpoint is written, into an OSError."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise OSError(
            f"checkpoint {step} could not be written to {folder} ({error}): free disk space there, then resume from "
            "the newest intact checkpoint, or start a new run if there is none"
        ) from error
