"""The settings of one run: data, training and model, and their values in a config file."""

import enum
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from transformers import TrainingArguments
from trl import ModelConfig

from dualselect.data.limits import MAX_ROW_BYTES
from dualselect.errors import ConfigError
from dualselect.models.embedded import EMBEDDED_MODEL
from dualselect.system.secrets import is_secret
from dualselect.training.config import DualSelectConfig


@dataclass
class TrainArguments:
    """Data sources, and the handling of an output directory that already contains a run."""

    task_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Task rows: one or more files (JSONL, JSON, CSV, Parquet, also .gz), folders or hub names. "
            "`FILE[0:200]` uses only these rows, `FILE#rejected` the rejected response of preference rows. "
            "`builtin` is the built-in mix, `builtin:KIND:COUNT` one kind: task, risky, refusal, lookalike, chat."
        },
    )
    reference_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "The reference pool: safe responses to keep, in the same forms, with prompts that are not in the "
            "task data. `builtin` is 100 built-in refusals and 100 helpful answers to harmless look-alikes."
        },
    )
    harmless_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Rows known to be harmless, in the same forms, like those of your task but not among them. With "
            "`task_token_budget: auto` they calibrate the filter beside the built-in ones; see harmless_drop_rate."
        },
    )
    audit: str | None = field(
        default=None,
        metadata={
            "help": "Folder of a finished `dualselect audit` of the same task rows: its rows in conflict are left "
            "out, and training itself drops none, so that what you looked at is what is trained on."
        },
    )
    columns: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Unusual column names of the data, as prompt=body,completion=reply: the known name, then the name "
            "in the data. For a single source: FILE?prompt=body,completion=reply."
        },
    )
    reference_losses: str | None = field(
        default=None,
        metadata={
            "help": "JSON file of losses by row id that preservation_loss excess is measured from, such as the loss "
            "of past tasks when learned; not set: the loss at the start."
        },
    )
    max_row_bytes: int = field(
        default=MAX_ROW_BYTES,
        metadata={
            "help": "Largest row of a data file, in bytes; a larger one is an error. JSON and CSV files, which are "
            "read as a whole, may have 64 times this size."
        },
    )
    eval_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Held-out task rows, in the same forms. Their loss is logged as eval_strategy says; they are not "
            "used for training."
        },
    )
    resume: str = field(
        default="no",
        metadata={
            "help": "`yes`, or --resume without a value: continue an interrupted run from the newest intact "
            "checkpoint of output_dir, bit for bit (on a GPU only with full_determinism, because its kernels may sum "
            "in a different order). `auto`, for a restart loop: start the run, continue it, or exit if finished.",
            "choices": ["no", "yes", "auto"],
        },
    )
    overwrite: bool = field(default=False, metadata={"help": "Delete the run in output_dir and start again."})
    allow_changed_data: bool = field(
        default=False,
        metadata={"help": "With the config.yaml of a run: accept data files that changed since. Otherwise an error."},
    )
    allow_changed_model: bool = field(
        default=False,
        metadata={"help": "With --resume: accept a model whose weights changed since. Otherwise an error."},
    )

    def __post_init__(self) -> None:
        if isinstance(self.resume, bool):
            self.resume = "yes" if self.resume else "no"


@dataclass
class LoraModelConfig(ModelConfig):
    """TRL's model settings, with the paper's LoRA and the embedded model as defaults."""

    model_name_or_path: str = field(
        default=EMBEDDED_MODEL,
        metadata={
            "help": "The model to fine-tune: a hub name, a folder, a .gguf file, or the embedded "
            f"{EMBEDDED_MODEL}, which does not need the hub."
        },
    )
    dtype: str = field(
        default="auto",
        metadata={
            "help": "Number format of the frozen weights: float32, bfloat16, float16, or auto (bfloat16 on a GPU that "
            "supports it, otherwise float32). The adapter is always float32.",
            "choices": ["auto", "bfloat16", "float16", "float32"],
        },
    )
    use_peft: bool = field(
        default=True,
        metadata={
            "help": "Train a LoRA adapter. `false` trains all weights of the layers in lora_target_modules, in "
            "float32, and freezes the other layers; gradient_storage is then `recompute` unless memory is ample."
        },
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=32, metadata={"help": "The adapter is scaled by lora_alpha / lora_r."})
    lora_dropout: float = field(
        default=0.05, metadata={"help": "Dropout before the adapter in training; reference scores use no dropout."}
    )
    lora_target_modules: list[str] | None = field(
        default_factory=lambda: ["q_proj", "v_proj"],
        metadata={"help": "Linear layers that get an adapter, by the last part of their names, or `all-linear`."},
    )
    start_adapter: str | None = field(
        default=None,
        metadata={
            "help": "Continue this adapter, of a run or a folder, and train no new one. It keeps its rank and layers: "
            "lora_r, lora_alpha, lora_dropout and lora_target_modules have no effect. `start` still means the model "
            "without an adapter."
        },
    )
    merged_adapters: list[str] = field(
        default_factory=list,
        metadata={"help": "Adapters, of runs or folders, that are added to the model's weights before training."},
    )

    def __post_init__(self) -> None:
        target = self.lora_target_modules
        super().__post_init__()
        if isinstance(target, list) and target != ["all-linear"]:
            # TRL turns a list of one into a string, which PEFT would match against full module names.
            self.lora_target_modules = target
        if self.start_adapter and not self.use_peft:
            raise ConfigError(
                "start_adapter continues an adapter, but use_peft is false: leave one of them out, or use "
                "merged_adapters"
            )
        if self.use_peft:
            return
        if self.dtype not in ("auto", "float32"):
            raise ConfigError(
                f"use_peft is false and dtype is {self.dtype}: fully trained layers are float32. Leave dtype out, and "
                "write bf16: true to compute in bfloat16."
            )
        if self.load_in_4bit or self.load_in_8bit:
            raise ConfigError(
                "use_peft is false and the model is loaded in 4 or 8 bits: such layers cannot be fully trained. Leave "
                "out use_peft, or load_in_4bit and load_in_8bit."
            )
        self.dtype = "float32"


@dataclass
class RunSettings:
    """All settings of one run.

    Attributes:
        data: The data sources.
        training: The method and the training.
        model: The model and its adapter.

    Raises:
        ConfigError: Two settings are mutually exclusive.
    """

    data: TrainArguments
    training: DualSelectConfig
    model: LoraModelConfig

    def __post_init__(self) -> None:
        if not self.model.use_peft and self.training.preservation_loss == "kl":
            raise ConfigError(
                "preservation_loss: kl compares with the model without its adapter, but use_peft: false trains none. "
                "Use preservation_loss: excess."
            )


def check_adapter(settings: RunSettings, what: str) -> None:
    """Reject settings that train no new adapter, for work that needs one.

    Args:
        settings: The settings.
        what: The work, such as `an audit`.

    Raises:
        ConfigError: `use_peft` is false, or an adapter is continued.
    """
    if not settings.model.use_peft:
        raise ConfigError(
            f"use_peft is false, but {what} measures with a temporary LoRA adapter: leave use_peft out, or pass "
            "--use_peft true to override the file"
        )
    if settings.model.start_adapter:
        raise ConfigError(
            f"start_adapter: {what} measures with a temporary adapter on the model itself: name the adapter in "
            "merged_adapters"
        )


SETTING_CLASSES: tuple[type[Any], ...] = (TrainArguments, DualSelectConfig, LoraModelConfig)

# Always written to config.yaml, so that the most important settings are recorded even if they are library defaults.
WRITTEN_OF_TRAINING = [
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "optim",
    "gradient_checkpointing",
    "seed",
    "data_seed",
    "save_strategy",
    "save_steps",
    "logging_steps",
]
# Settings of one call, which do not belong to the run, and secrets.
# (activation_checkpointing is transformers' new name of gradient_checkpointing and always equal to it.)
NOT_WRITTEN = set(
    "output_dir resume overwrite allow_changed_data allow_changed_model resume_from_checkpoint hub_token local_rank "
    "activation_checkpointing activation_checkpointing_kwargs".split()
)


IF_SET = {"eval_data", "harmless_data", "audit", "reference_losses", "start_adapter", "merged_adapters"}
"""Settings of this project that are written only if they are set."""


def settings_to_write(settings: RunSettings) -> dict[str, Any]:
    """The settings as plain values: all settings of this project, and others that differ from their default."""
    written: dict[str, Any] = {}
    always = {
        TrainArguments: set(TrainArguments.__annotations__) - IF_SET,
        DualSelectConfig: set(DualSelectConfig.__annotations__) | set(WRITTEN_OF_TRAINING),
        LoraModelConfig: set(LoraModelConfig.__annotations__) - IF_SET,
    }
    for part in (settings.data, settings.model, settings.training):
        kind = type(part)
        default = DualSelectConfig(activation_checkpointing=False) if isinstance(part, DualSelectConfig) else kind()
        for setting in fields(kind):
            if setting.name in NOT_WRITTEN or not setting.init:
                continue
            value = getattr(part, setting.name)
            if setting.name in always[kind] or value != getattr(default, setting.name):
                written[setting.name] = _plain(value)
                if setting_types()[setting.name] is float:  # a library's default may be the integer 0
                    written[setting.name] = float(value)
    return written


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if not is_secret(str(key))}
    return _plain(value.to_dict()) if hasattr(value, "to_dict") else value


@cache
def setting_types() -> dict[str, Any]:
    """Name and annotated type of every setting."""
    return {
        name: hint
        for kind in SETTING_CLASSES
        for name, hint in get_type_hints(kind).items()
        if any(setting.name == name and setting.init for setting in fields(kind))
    }


@cache
def setting_choices(name: str) -> tuple[str, ...]:
    """The values that a setting can take if they are a fixed list; otherwise empty."""
    for kind in SETTING_CLASSES:
        found = {setting.name: setting for setting in fields(kind)}.get(name)
        if found is not None and "choices" in found.metadata:
            return tuple(map(str, found.metadata["choices"]))
    # SFTConfig declares some enums of transformers as text; still, only the values of the enum are accepted.
    for hint in (setting_types()[name], get_type_hints(TrainingArguments).get(name)):
        for member in (hint, *get_args(hint)):
            if get_origin(member) is Literal:
                return tuple(map(str, get_args(member)))
            if isinstance(member, type) and issubclass(member, enum.Enum):
                return tuple(str(choice.value) for choice in member)
    return ()


def typed_value(name: str, value: Any, where: str) -> Any:
    """A value of a config file, converted to the type of its setting.

    YAML reads `2e-5` as text and `no` as false, and a single name may mean a list of one; these are converted.

    Args:
        name: The setting.
        value: The value in the file.
        where: The file, for the message.

    Raises:
        ConfigError: The value does not have the type of the setting.
    """
    choices = setting_choices(name)
    if isinstance(value, bool) and {True: "yes", False: "no"}[value] in choices:
        value = "yes" if value else "no"
    wanted = setting_types()[name]
    members = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    for convert in (_exactly, _converted):
        for member in members:
            found = convert(value, member)
            if found is not _NO and (not choices or found is None or str(found) in choices):
                return found
    shown = "not shown here" if is_secret(name) else repr(value)
    raise ConfigError(f"{where}: {name} is {shown}; write {wanted_text(name)}")


def wanted_text(name: str) -> str:
    """The valid values of a setting, in words."""
    if choices := setting_choices(name):
        return "one of " + ", ".join(choices)
    wanted = setting_types()[name]
    members = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a text", dict: "a mapping"}
    words |= {list: "a list", types.NoneType: "null"}
    kinds = [get_origin(member) or member for member in members]
    return " or ".join(words[kind] for kind in kinds if kind in words) or "nothing: it cannot be set here"


_NO = object()


def _exactly(value: Any, wanted: Any) -> Any:
    kind = get_origin(wanted) or wanted
    if kind is list:
        return _list_of(value, get_args(wanted)) if isinstance(value, list) else _NO
    if kind is types.NoneType:
        return value if value is None else _NO
    return value if isinstance(kind, type) and type(value) is kind else _NO


def _list_of(values: list[Any], item: tuple[Any, ...]) -> Any:
    if not item or not isinstance(item[0], type):
        return values
    converted = [_converted(value, item[0]) for value in values]
    return _NO if any(value is _NO for value in converted) else converted


def _converted(value: Any, wanted: Any) -> Any:
    kind = get_origin(wanted) or wanted
    if kind is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return value if isinstance(value, str) else _NO
    if kind is list:
        return [value] if isinstance(value, str) else _NO
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return _NO
    if kind is str:
        return str(value)
    if kind is bool:
        return {"true": True, "false": False}.get(str(value).lower(), _NO)
    return _number(value, kind) if kind in (int, float) else _NO


def _number(value: float | str, kind: type[Any]) -> Any:
    try:
        number = float(value)
    except ValueError:
        return _NO
    if kind is float:
        return number
    return int(number) if number.is_integer() else _NO
