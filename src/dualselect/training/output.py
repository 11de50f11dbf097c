"""A trainer's output folder: one process at a time, no pickled arguments, no secrets, a card next to each adapter."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers.trainer import TRAINING_ARGS_NAME
from trl import SFTTrainer

from dualselect.system.lock import folder_lock
from dualselect.training.card import Card, write_card


CARD_SETTINGS = (
    "learning_rate lr_scheduler_type warmup_steps num_train_epochs max_steps per_device_train_batch_size "
    "gradient_accumulation_steps max_length weight_decay max_grad_norm optim seed"
).split()
ADAPTER_SETTINGS = "r lora_alpha lora_dropout use_rslora".split()
MODEL_FILES = "adapter_config.json", "config.json"


class OutputTrainer(SFTTrainer):
    """TRL's SFT trainer with this project's output folder.

    Attributes:
        card_base: Name of the base model, for the card; the model's own name when empty.
        card_sources: Names of the data by role, for the card.
        card_command: The command that repeats the training, for the card.
    """

    card_base: str = ""
    card_sources: Mapping[str, Sequence[str]] = {}
    card_command: str = ""

    def train(self, *arguments: Any, **options: Any) -> Any:
        """Train as `SFTTrainer` does.

        Raises:
            ResumeError: Another process trains into `output_dir`.
        """
        with folder_lock(self.args.output_dir):
            return super().train(*arguments, **options)

    def create_model_card(self, *arguments: Any, **options: Any) -> None:
        """Write the card into `output_dir` if the model itself is saved there; TRL always writes one."""
        folder = Path(self.args.output_dir)
        if self.is_world_process_zero() and any((folder / name).exists() for name in MODEL_FILES):
            write_card(folder, self.card())

    def card(self) -> Card:
        """The card of the model."""
        adapter = self.model.peft_config[self.model.active_adapter] if isinstance(self.model, PeftModel) else None
        settings = {name: getattr(self.args, name) for name in CARD_SETTINGS} | self._card_settings()
        if adapter is not None:
            settings |= {name: getattr(adapter, name) for name in ADAPTER_SETTINGS if hasattr(adapter, name)}
            targets = getattr(adapter, "target_modules", None)
            settings["target_modules"] = sorted(targets) if isinstance(targets, set) else targets
        method, paper = self._card_method()
        return Card(
            base=self.card_base or getattr(self.model.config, "_name_or_path", "") or "a model that was not saved",
            method=method,
            paper=paper,
            data=self._card_rows(),
            sources=self.card_sources,
            settings={name: _plain(value) for name, value in settings.items()},
            command=self.card_command,
            whole=adapter is None,
        )

    def _card_method(self) -> tuple[str, str]:
        """Name of the method and reference to its paper."""
        return self._name, f"arXiv {self._paper['id']}"

    def _card_settings(self) -> dict[str, Any]:
        """Settings of the method."""
        return {}

    def _card_rows(self) -> dict[str, int]:
        """Number of rows by role."""
        return {"task data": len(self.train_dataset)}

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        token, self.args.hub_token = self.args.hub_token, None
        try:
            with _without_card_of_peft(self.model):
                super()._save(output_dir, state_dict)
        finally:
            self.args.hub_token = token
        if self.args.should_save:
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # a pickle; resuming does not read it
            write_card(folder, self.card())


@contextmanager
def _without_card_of_peft(model: Any) -> Iterator[None]:
    """Keep PEFT from writing its card, which contains local paths and changes an existing README.md."""
    if not isinstance(model, PeftModel):
        yield
        return
    model.create_or_update_model_card = lambda _folder: None
    try:
        yield
    finally:
        del model.create_or_update_model_card


def _plain(value: Any) -> Any:
    """The value in a form that YAML supports."""
    value = getattr(value, "value", value)
    return value if value is None or isinstance(value, bool | int | float | str | list) else str(value)
