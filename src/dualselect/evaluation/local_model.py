"""What a name of a local model means, a model, an adapter or a run, and how it is loaded."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dualselect.data.tokens import PromptFormat
from dualselect.errors import ModelError
from dualselect.models import load_model
from dualselect.models.checking import check_model_packages
from dualselect.models.earlier_adapters import merged
from dualselect.models.foreign_code import check_trust, comes_with_code, refusal_of_code
from dualselect.models.precision import quantization_of
from dualselect.runs.config_file import read_config
from dualselect.runs.directory import ADAPTER, CONFIG_FILE, EVALUATION
from dualselect.runs.settings import LoraModelConfig
from dualselect.training.checkpoints import SELECTION_LOG, TRAINER_STATE, find_checkpoints


logger = logging.getLogger(__name__)

ADAPTER_CONFIG = "adapter_config.json"
LOADING = {setting.name for setting in fields(LoraModelConfig)} - {"model_name_or_path"}
"""Settings that say how a model is loaded."""


@dataclass(frozen=True)
class LocalModel:
    """Where a model is.

    Attributes:
        name: As the user wrote it.
        base: The model, or the model under the adapter.
        adapter: Folder of the adapter; None for a whole model.
        run: The run directory, if it is one.
        settings: Settings of the run by name, also where the adapter is one of a run's checkpoints.
    """

    name: str
    base: str
    adapter: Path | None = None
    run: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Absolute path, or the name on the hub."""
        path = self.run or self.adapter or Path(self.base).expanduser()
        return str(path.absolute()) if path.exists() else self.base

    @property
    def evaluations(self) -> Path | None:
        """Where evaluations of a run are kept; None if it is not a run."""
        return self.run / EVALUATION if self.run else None

    def loaded_as(self, settings: Mapping[str, Any]) -> "LocalModel":
        """The model with the settings of its own run; where it is of none, with those of `settings` that load it."""
        return self if self.settings else replace(self, settings={k: v for k, v in settings.items() if k in LOADING})

    @property
    def prompt_format(self) -> PromptFormat:
        """The text that the run was trained on; the chat template where nothing says otherwise."""
        return self.settings.get("prompt_format", "chat")


def find_model(name: str) -> LocalModel:
    """Find out what a name means, without loading it.

    Args:
        name: A run directory, the output folder of a script, a folder with an adapter or a model, a GGUF file, the
            embedded model's name, or a name on the hub.

    Raises:
        ModelError: It is an unfinished run, or an adapter that does not say which model it belongs to.
        ConfigError: The run's config.yaml cannot be used.
    """
    path = Path(name).expanduser()
    if (path / ADAPTER_CONFIG).is_file() and (path / SELECTION_LOG).is_file():  # saved by a script
        return LocalModel(name, _base_of(path), path, path)
    if (path / ADAPTER_CONFIG).is_file():
        settings = _settings_of(path.absolute().parent)
        return LocalModel(name, settings.get("model_name_or_path") or _base_of(path), path, None, settings)
    if (path / ADAPTER).is_dir():
        settings, adapter = _settings_of(path), path / ADAPTER
        if not (adapter / ADAPTER_CONFIG).is_file():  # a whole model
            return LocalModel(name, str(adapter), None, path, settings)
        return LocalModel(name, settings.get("model_name_or_path") or _base_of(adapter), adapter, path, settings)
    if (path / CONFIG_FILE).is_file():
        checkpoints = sorted(path.glob("checkpoint-*"), key=lambda folder: folder.stat().st_mtime)
        other = f", or name a checkpoint: {checkpoints[-1]}" if checkpoints else ""
        raise ModelError(
            f"{name} is a run that is not finished, it has no {ADAPTER}/. Finish it with dualselect train --config "
            f"{path / CONFIG_FILE} --resume{other}"
        )
    if (checkpoint := _newest_checkpoint(path)) is not None:
        return LocalModel(name, _base_of(checkpoint), checkpoint, path)
    return LocalModel(name, name)


def _newest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a training by a script, which writes neither config.yaml nor adapter/."""
    if not run.is_dir() or (run / "config.json").exists():
        return None
    checkpoint = find_checkpoints(run).newest
    if checkpoint is None or not (checkpoint / ADAPTER_CONFIG).is_file():
        return None
    state = json.loads((checkpoint / TRAINER_STATE).read_text(encoding="utf-8"))
    logger.info(
        "%s has no %s/: its newest checkpoint is taken, %s (step %s of %s)",
        run, ADAPTER, checkpoint.name, state["global_step"], state.get("max_steps", "?"),
    )  # fmt: skip
    return checkpoint


def load_local_model(
    found: LocalModel, *, trust_remote_code: bool = False
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """Load a model and its adapter, in evaluation mode, on the GPU when there is one.

    The tokenizer is the adapter's own where one was saved with it.

    Args:
        found: The model.
        trust_remote_code: Run code that comes with the model; what its run's config.yaml says does not decide this.

    Raises:
        ConfigError: The run's config.yaml trusts code, and `trust_remote_code` is false.
        ModelError: There is no such model, the adapter does not fit it, or it comes with code that is not trusted.
    """
    settings = found.settings
    check_trust(settings, found.name, trusted=trust_remote_code)
    loading = LoraModelConfig(**{k: v for k, v in settings.items() if k in LOADING})
    check_model_packages(loading)
    quantization = quantization_of(loading)
    model, tokenizer = load_model(
        found.base,
        dtype=settings.get("dtype") or "auto",
        revision=settings.get("model_revision"),
        quantization_config=quantization,
        trust_remote_code=trust_remote_code,
        attn_implementation=settings.get("attn_implementation"),
    )
    model = merged(model, settings.get("merged_adapters") or [])
    if torch.cuda.is_available() and quantization is None:
        model = model.to("cuda")
    if found.adapter is not None:
        try:
            model = PeftModel.from_pretrained(model, str(found.adapter))
            if (found.adapter / "tokenizer_config.json").is_file():
                tokenizer = AutoTokenizer.from_pretrained(found.adapter, trust_remote_code=trust_remote_code)
        except (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError) as error:
            if comes_with_code(error):
                raise ModelError(refusal_of_code(found.adapter)) from error
            reason = "\n".join(str(error).strip().splitlines()[:3])
            raise ModelError(
                f"the adapter in {found.adapter} could not be put on {found.base} ({type(error).__name__}): {reason}\n"
                "Give the adapter with the model that it was trained on, or train again."
            ) from error
    return model.eval(), tokenizer


def _settings_of(run: Path) -> dict[str, Any]:
    return read_config(run / CONFIG_FILE).settings if (run / CONFIG_FILE).is_file() else {}


def _base_of(adapter: Path) -> str:
    try:
        base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{adapter / ADAPTER_CONFIG} cannot be read ({error}): save the adapter again") from error
    if not base:
        raise ModelError(
            f"{adapter / ADAPTER_CONFIG} does not say which model the adapter was trained on: write its name or "
            "folder as base_model_name_or_path into that file"
        )
    return str(base)
