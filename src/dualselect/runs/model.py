"""The model and tokenizer that a run starts from."""

from dataclasses import replace
from pathlib import Path

from peft import PeftConfig, PeftModel
from torch import nn
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from trl import get_peft_config

from dualselect.errors import ConfigError
from dualselect.models import load_model
from dualselect.models.checking import check_model
from dualselect.models.earlier_adapters import continued, merged
from dualselect.models.foreign_code import comes_with_code
from dualselect.models.precision import quantization_of
from dualselect.models.whole_layers import train_whole_layers
from dualselect.runs.settings import RunSettings


def load_run_model(settings: RunSettings) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer that a run starts from, with the end token and the template file of its settings.

    Raises:
        ConfigError: The model has no linear layer that `lora_target_modules` names, it has no token `eos_token`, or
            a package that the settings need is not installed.
        ModelError: The model cannot be loaded.
    """
    check_model(settings.model)
    # `auto` depends on the GPU, which use_cpu must not touch
    on_cpu = settings.training.use_cpu and settings.model.dtype == "auto"
    model_settings = replace(settings.model, dtype="float32") if on_cpu else settings.model
    model, tokenizer = load_model(
        model_settings.model_name_or_path,
        dtype=model_settings.dtype,
        revision=model_settings.model_revision,
        quantization_config=quantization_of(model_settings),
        trust_remote_code=settings.training.trust_remote_code,
        attn_implementation=settings.model.attn_implementation,
    )
    model = merged(model, settings.model.merged_adapters)
    targets = settings.model.lora_target_modules
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    missing = [
        target
        for target in (targets if isinstance(targets, list) else [])
        if not any(name == target or name.endswith(f".{target}") for name in linear)
    ]
    if missing:
        there = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise ConfigError(
            f"lora_target_modules: {', '.join(missing)} is not a linear layer of "
            f"{settings.model.model_name_or_path}, which has {there}. Write some of these, or all-linear."
        )
    if not settings.model.use_peft:
        train_whole_layers(model, targets or "all-linear")
    _set_text(tokenizer, settings)
    return model, tokenizer


def adapted(model: PreTrainedModel, settings: RunSettings) -> tuple[PreTrainedModel | PeftModel, PeftConfig | None]:
    """The model as a trainer takes it, and the config of the adapter that the trainer is to add.

    Raises:
        ModelError: The adapter that the run continues cannot be read or does not fit the model.
    """
    if settings.model.start_adapter:
        return continued(model, settings.model.start_adapter), None
    return model, get_peft_config(settings.model)


def is_template_file(path: str) -> bool:
    """Whether `chat_template_path` is a template file, and not a model whose tokenizer has a template."""
    return Path(path).is_file() and path.endswith((".jinja", ".j2"))


def _set_text(tokenizer: PreTrainedTokenizerBase, settings: RunSettings) -> None:
    """Set the end token and the chat template before rows are tokenized; TRL's trainer sets them again later."""
    end, path = settings.training.eos_token, settings.training.chat_template_path
    if end is not None:
        if end not in tokenizer.get_vocab():
            raise ConfigError(
                f"eos_token: {end!r} is not in the vocabulary of {settings.model.model_name_or_path}; name a token of "
                f"the vocabulary, or leave eos_token out to use {tokenizer.eos_token!r}"
            )
        tokenizer.eos_token = end
    if path is None:
        return
    if is_template_file(path):
        tokenizer.chat_template = Path(path).read_text(encoding="utf-8")
    else:
        _check_template_source(path)


def _check_template_source(name: str) -> None:
    """Reject a template source whose tokenizer needs custom code; TRL would ask whether to run the code."""
    try:
        AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        if comes_with_code(error):
            raise ConfigError(
                f"chat_template_path: the tokenizer of {name} needs custom code, which is not run here: save its chat "
                "template to a file that ends in .jinja, and name that file"
            ) from error
        reason = "\n".join(str(error).strip().splitlines()[:3])
        raise ConfigError(
            f"chat_template_path: {name} is not a .jinja file or a model with a tokenizer ({reason}): check the path"
        ) from error
