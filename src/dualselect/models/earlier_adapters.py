"""Adapters of earlier runs: to continue one, or to add some to the weights before a new one is trained."""

from collections.abc import Sequence
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError
from transformers import PreTrainedModel

from dualselect.errors import ModelError
from dualselect.models.adapters import ADAPTER_CONFIG


WEIGHTS = "adapter_model.safetensors"


def adapter_folder(name: str | Path) -> Path:
    """The folder of an adapter: itself, or `adapter/` of a run.

    Raises:
        ModelError: There is no adapter.
    """
    path = Path(name).expanduser()
    for folder in (path, path / "adapter"):
        if (folder / ADAPTER_CONFIG).is_file():
            return folder
    raise ModelError(f"{name} holds no adapter: name a finished run, or a folder with {ADAPTER_CONFIG}")


def merged(model: PreTrainedModel, adapters: Sequence[str | Path]) -> PreTrainedModel:
    """The model with the adapters added to its weights, one after the other.

    Raises:
        ModelError: One cannot be read or does not fit the model.
    """
    for name in adapters:
        model = _loaded(model, name, trainable=False).merge_and_unload()
    return model


def continued(model: PreTrainedModel, adapter: str | Path) -> PeftModel:
    """The model with an adapter that goes on training.

    Raises:
        ModelError: It cannot be read or does not fit the model.
    """
    return _loaded(model, adapter, trainable=True)


def _loaded(model: PreTrainedModel, name: str | Path, *, trainable: bool) -> PeftModel:
    folder = adapter_folder(name)
    try:
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError) as error:
        reason = "\n".join(str(error).strip().splitlines()[:3])
        raise ModelError(
            f"the adapter in {folder} could not be put on {model.config.name_or_path} ({type(error).__name__}): "
            f"{reason}\nGive the adapter with the model that it was trained on."
        ) from error
