"""The settings of a diagnostic: the settings of `dualselect train`, plus its own options."""

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
from dualselect.runs.settings import RunSettings, check_adapter, setting_types, settings_to_write
from dualselect.training.config import DualSelectConfig
from dualselect.training.ignored_settings import IGNORED_BY_PLAIN_STEPS, IgnoredSettings, warn_ignored


logger = logging.getLogger(__name__)

STRATEGIES = ("dualselect", "static", "periodic_random", "uniform")
CORRECTIONS = ("none", "add", "project", "project_add")
_NO_EFFECT = {"disable_tqdm", "log_level", "report_to", "run_name", "gradient_checkpointing"}
"""Settings without effect on the results, in addition to the settings for logging, saving and evaluation."""
_IGNORED: IgnoredSettings = {
    **IGNORED_BY_PLAIN_STEPS,
    "task_token_budget": (
        lambda config: config.task_token_budget not in (DualSelectConfig.task_token_budget, "1", "1.0"),
        "an update learns from all rows of its batch",
    ),
    "task_top_k": (lambda config: config.task_top_k is not None, "an update learns from all rows of its batch"),
    "rho": (
        lambda config: config.fixed_rho is None,
        "a diagnostic has no steps that set it; corrected updates use rho 0.2",
    ),
    "reference_gradient": (
        lambda config: config.reference_gradient != "frozen",
        "reference directions are computed once, at the initial state",
    ),
    "gradient_checkpointing": (
        lambda config: config.gradient_checkpointing,
        "it stays off; to save memory, lower per_device_train_batch_size and reference_batch_size",
    ),
}


@dataclass(frozen=True)
class DiagnosticOptions:
    """Options of a diagnostic, apart from the settings of the run."""

    probe_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Held-out safe responses, in the same formats as reference_data, whose prompts are not in the "
            "task data or the pool. `builtin:refusal[504:518]` is one built-in refusal per category."
        },
    )
    group_by: str = field(
        default="kind",
        metadata={
            "help": "Groups task rows by `kind`, by `category`, or by `source`. With `source`, each entry of "
            "task_data is a group, and NAME=SOURCE names it.",
            "choices": ("kind", "category", "source"),
        },
    )
    batches: int = field(
        default=4,
        metadata={
            "help": "Task batches per group. The test of whether selection follows the group needs 4 with two groups, "
            "3 with three, 2 with more."
        },
    )
    period: int = field(
        default=3, metadata={"help": "Task batches between two selections of periodic_random; less than their total."}
    )
    updates: int = field(default=2, metadata={"help": "Corrected updates per batch before the probes are evaluated."})
    strategies: list[str] = field(
        default_factory=lambda: list(STRATEGIES),
        metadata={"help": "Selection strategies whose updates are probed.", "choices": STRATEGIES},
    )
    corrections: list[str] = field(
        default_factory=lambda: list(CORRECTIONS),
        metadata={"help": "Corrections probed with the references of dualselect.", "choices": CORRECTIONS},
    )
    sketch: int = field(
        default=0,
        metadata={
            "help": "Dimensions of a count-sketch of the gradients for the cosines, such as 8192. This saves time "
            "with many batches, but does not save memory. The error is measured and reported. 0: exact cosines."
        },
    )

    def __post_init__(self) -> None:
        least = {"batches": 2, "period": 1, "updates": 1, "sketch": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be {low} or more")
        if "dualselect" not in self.strategies:
            raise ConfigError("strategies must include dualselect: the others are compared with it")


OPTIONS: dict[str, Field] = {one.name: one for one in fields(DiagnosticOptions)}


@dataclass(frozen=True)
class DiagnosticSettings:
    """Settings of a diagnostic.

    Attributes:
        options: Options of the diagnostic.
        run: Model, data and method, as in training; `output_dir` is the folder of the diagnostic.
        resolved: Everything that determines the result as plain values: options and resolved settings of the run.
    """

    options: DiagnosticOptions
    run: RunSettings
    resolved: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Output folder."""
        return Path(self.run.training.output_dir or ".").absolute()

    @property
    def rows_per_batch(self) -> int:
        """Rows of a task batch, as in an optimizer step."""
        training = self.run.training
        return training.per_device_train_batch_size * training.gradient_accumulation_steps


def read_diagnostic(config: str | Path | None, given: Mapping[str, Any]) -> DiagnosticSettings:
    """Read the settings of a diagnostic from a YAML file and the command line.

    Args:
        config: The file; None without one.
        given: Settings by name, which override the file.

    Raises:
        ConfigError: A name is not a setting, or a value cannot be used.
    """
    where = str(config) if config else COMMAND_LINE
    file = read_mapping(Path(config)) if config else {}
    if file.pop(RECORD_KEY, None) is not None:  # the file was written by a run
        check_trust(file, where, trusted=TRUST in given)
    content = {**file, **given}
    check_keys(content, [*OPTIONS, *setting_types()], where)
    option_values = {name: _typed(name, value, where) for name, value in content.items() if name in OPTIONS}
    of_run = {name: value for name, value in content.items() if name not in OPTIONS}
    folder = of_run.pop("output_dir", None)
    if not folder:
        raise ConfigError("output_dir is missing: set --output_dir to the folder of the diagnostic")
    for name in ("resume", "overwrite"):
        if str(of_run.pop(name, False)).lower() != "false":
            raise ConfigError(
                f"{where}: {name} is a setting of dualselect train: omit {name}. To resume a diagnostic, repeat its "
                "command; to restart it, remove its folder first"
            )
    for name in ("eval_data", "eval_strategy", "eval_steps"):
        if name in of_run:
            logger.warning("%s: %s is ignored by a diagnostic, which uses probe_data", name, of_run.pop(name))
    options = DiagnosticOptions(**option_values)
    if not options.probe_data:
        raise ConfigError(
            "probe_data is missing: set --probe_data to safe responses that are not in the task data or the pool, "
            "such as builtin:refusal[504:518]"
        )
    # gradient checkpointing would be on by default with a GPU
    of_run = {"gradient_checkpointing": False, **of_run}
    run = run_settings(METHODS["dualselect"], of_run, Path(str(folder)).expanduser())
    check_adapter(run, "a diagnostic")
    warn_ignored(run.training, _IGNORED, "a diagnostic")
    if run.training.correction == "none":
        raise ConfigError("correction is none, but strategies are compared by their corrections: omit correction")
    relevant = {
        name: value
        for name, value in settings_to_write(run).items()
        if name not in _NO_EFFECT and not name.startswith(("logging_", "save_", "eval_"))
    }
    return DiagnosticSettings(options, run, asdict(options) | relevant)


def named_source(source: str) -> tuple[str, str]:
    """Split NAME=SOURCE. Without a name, the source is used as the name."""
    match = re.fullmatch(r"(?P<name>[\w .+-]+)=(?P<source>.+)", source)
    if match is None or Path(source).exists():
        return source, source
    return match["name"], match["source"]


def _typed(name: str, value: Any, where: str) -> Any:
    option = OPTIONS[name]
    choices = option.metadata.get("choices")
    if option.type is int:
        if not re.fullmatch(r"-?\d+", str(value)):
            raise ConfigError(f"{where}: {name} is {value!r}; use an integer")
        return int(value)
    values = value if isinstance(value, list) else [value]
    for one in values:
        if not isinstance(one, str) or (choices and one not in choices):
            raise ConfigError(f"{where}: {name} is {one!r}; use {'one of ' + ', '.join(choices or ['a text'])}")
    return values if option.type is not str else values[0]
