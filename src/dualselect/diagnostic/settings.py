"""The settings of a diagnostic: those of `dualselect train`, and what is measured on them."""

import logging
import re
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dualselect.errors import ConfigError
from dualselect.methods import METHODS
from dualselect.methods.fine_tune import run_settings
from dualselect.models.foreign_code import SETTING as TRUST
from dualselect.models.foreign_code import check_trust
from dualselect.runs.config_file import COMMAND_LINE, RECORD_KEY, check_keys, read_mapping
from dualselect.runs.settings import RunSettings, setting_types, settings_to_write
from dualselect.training.config import DualSelectConfig
from dualselect.training.ignored_settings import OF_PLAIN_STEPS, NotFollowed, tell_not_followed


logger = logging.getLogger(__name__)

STRATEGIES = ("dualselect", "static", "periodic_random", "uniform")
CORRECTIONS = ("none", "add", "project", "project_add")
_ONLY_SHOWN = {"disable_tqdm", "log_level", "report_to", "run_name", "gradient_checkpointing"}
"""Settings of a run that change nothing that is measured, beside all of logging, saving and evaluating."""
_NOT_FOLLOWED: NotFollowed = {
    **OF_PLAIN_STEPS,
    "task_token_budget": (
        lambda config: config.task_token_budget not in (DualSelectConfig.task_token_budget, "1", "1.0"),
        "an update learns from all rows of its batch",
    ),
    "task_top_k": (lambda config: config.task_top_k is not None, "an update learns from all rows of its batch"),
    "reference_gradient": (
        lambda config: config.reference_gradient != "frozen",
        "directions stay those of where the updates begin",
    ),
    "gradient_checkpointing": (
        lambda config: config.gradient_checkpointing,
        "nothing is recomputed; for less memory lower per_device_train_batch_size and reference_batch_size",
    ),
}


@dataclass(frozen=True)
class DiagnosticOptions:
    """What is measured, beside the settings of the run that it is measured on."""

    probe_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Held-out safe responses, in the same forms as reference_data, with prompts that stand in neither "
            "the task data nor the pool. `builtin:refusal[504:518]` is one built-in refusal of each category."
        },
    )
    group_by: str = field(
        default="kind",
        metadata={
            "help": "What makes a task group: the rows' `kind`, their `category`, or the `source`: each of task_data "
            "is a group then, and NAME=SOURCE names it.",
            "choices": ("kind", "category", "source"),
        },
    )
    batches: int = field(
        default=4,
        metadata={
            "help": "Task batches of each group. To tell whether the choice follows the group takes 4 with two "
            "groups, 3 with three, 2 with more."
        },
    )
    period: int = field(
        default=3, metadata={"help": "Task batches between two draws of periodic_random; fewer than all batches."}
    )
    updates: int = field(default=2, metadata={"help": "Corrected updates of each batch before the probes are read."})
    strategies: list[str] = field(
        default_factory=lambda: list(STRATEGIES),
        metadata={"help": "Ways to pick references whose updates are probed.", "choices": STRATEGIES},
    )
    corrections: list[str] = field(
        default_factory=lambda: list(CORRECTIONS),
        metadata={"help": "Corrections probed with the references of dualselect.", "choices": CORRECTIONS},
    )
    sketch: int = field(
        default=0,
        metadata={
            "help": "Numbers that a gradient is hashed to (count-sketch) for the cosines, such as 8192, which saves "
            "time with many batches and no memory; their error is measured and told. 0: exact cosines."
        },
    )

    def __post_init__(self) -> None:
        least = {"batches": 2, "period": 1, "updates": 1, "sketch": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be {low} or more")
        if "dualselect" not in self.strategies:
            raise ConfigError("strategies leaves out dualselect, which the others are compared with: add it")


OPTIONS: dict[str, Field] = {one.name: one for one in fields(DiagnosticOptions)}


@dataclass(frozen=True)
class DiagnosticSettings:
    """A diagnostic.

    Attributes:
        options: What is measured.
        run: Model, data and method, as of a training run; `output_dir` is where the diagnostic is kept.
        written: What decides the result as plain values: all options, and the settings of the run as resolved.
    """

    options: DiagnosticOptions
    run: RunSettings
    written: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        return Path(self.run.training.output_dir or ".").absolute()

    @property
    def rows_per_batch(self) -> int:
        """Rows of a task batch: those of an optimizer step."""
        training = self.run.training
        return training.per_device_train_batch_size * training.gradient_accumulation_steps


def read_diagnostic(config: str | Path | None, given: Mapping[str, Any]) -> DiagnosticSettings:
    """The settings of a diagnostic from a YAML file and the command line.

    Args:
        config: The file; None for none.
        given: Settings by name, which win over the file.

    Raises:
        ConfigError: A name is no setting, or a value cannot be used; the message says what to write.
    """
    where = str(config) if config else COMMAND_LINE
    file = read_mapping(Path(config)) if config else {}
    if file.pop(RECORD_KEY, None) is not None:  # the file is that of a run
        check_trust(file, where, trusted=TRUST in given)
    content = {**file, **given}
    check_keys(content, [*OPTIONS, *setting_types()], where)
    own = {name: _typed(name, value, where) for name, value in content.items() if name in OPTIONS}
    of_run = {name: value for name, value in content.items() if name not in OPTIONS}
    folder = of_run.pop("output_dir", None)
    if not folder:
        raise ConfigError("output_dir is missing: write --output_dir with the folder of the diagnostic")
    for name in ("resume", "overwrite"):
        if str(of_run.pop(name, False)).lower() != "false":
            raise ConfigError(
                f"{where}: {name} is of dualselect train; here the same command goes on where it stopped, and a "
                "diagnostic begins anew when its folder was removed: leave it out"
            )
    for name in ("eval_data", "eval_strategy", "eval_steps"):
        if name in of_run:
            logger.warning("%s: %s is not followed by a diagnostic: it has probe_data", name, of_run.pop(name))
    options = DiagnosticOptions(**own)
    if not options.probe_data:
        raise ConfigError(
            "probe_data is missing: write --probe_data with safe responses that are in neither the task data nor the "
            "pool, such as builtin:refusal[504:518]"
        )
    # where there is a GPU, gradient checkpointing would be on
    of_run = {"gradient_checkpointing": False, **of_run}
    run = run_settings(METHODS["dualselect"], of_run, Path(str(folder)).expanduser())
    tell_not_followed(run.training, _NOT_FOLLOWED, "a diagnostic")
    if run.training.correction == "none":
        raise ConfigError("correction is none: the strategies are compared by their corrections; leave it out")
    decisive = {
        name: value
        for name, value in settings_to_write(run).items()
        if name not in _ONLY_SHOWN and not name.startswith(("logging_", "save_", "eval_"))
    }
    return DiagnosticSettings(options, run, asdict(options) | decisive)


def named_source(source: str) -> tuple[str, str]:
    """Name and place of a source written as NAME=SOURCE; one without a name is its own name."""
    found = re.fullmatch(r"(?P<name>[\w .+-]+)=(?P<place>.+)", source)
    if found is None or Path(source).exists():
        return source, source
    return found["name"], found["place"]


def _typed(name: str, value: Any, where: str) -> Any:
    option = OPTIONS[name]
    choices = option.metadata.get("choices")
    if option.type is int:
        if not re.fullmatch(r"-?\d+", str(value)):
            raise ConfigError(f"{where}: {name} is {value!r}; write an integer")
        return int(value)
    values = value if isinstance(value, list) else [value]
    for one in values:
        if not isinstance(one, str) or (choices and one not in choices):
            raise ConfigError(f"{where}: {name} is {one!r}; write {'one of ' + ', '.join(choices or ['a text'])}")
    return values if option.type is not str else values[0]
