"""The config file of a comparison: settings of `dualselect train`, plus methods, seeds and evaluation.

output_dir, model_name_or_path, task_data, ...   settings of `dualselect train`, for every run
seeds: [0, 1, 2]
baseline: sft                                    time, memory, differences and win rates are relative to it
methods:
    sft:
    lisa: {alignment_steps: 2, task_steps: 8}    settings of the method or of training, for this method only
    mine: {method: dualselect, rho: 1.0, seeds: [0], tune: {learning_rate: [1e-4, 1e-3]}}
evaluation: {suites: [builtin], validation_suites: [builtin:validation], judges: [refusal], max_new_tokens: 64}
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dualselect.errors import ConfigError
from dualselect.evaluation.generation_settings import GenerationSettings
from dualselect.judges import JudgeSettings
from dualselect.methods import METHODS, Method
from dualselect.methods.fine_tune import run_settings
from dualselect.models.checking import check_model_packages
from dualselect.models.embedded import EMBEDDED_MODEL
from dualselect.runs.config_file import check_keys, named_settings, read_mapping, seed_list
from dualselect.runs.settings import setting_types, typed_value
from dualselect.training.packages import check_packages


START = "start"
"""Name of the model before fine-tuning in the table."""
# settings that a comparison fixes, and what to do instead
FIXED_SETTINGS = {
    "hub_token": "a comparison sends nothing to a hub; a token belongs into the environment, as HF_TOKEN",
    "seed": "use seeds: [0, 1, 2]",
    "resume": "a comparison always resumes",
    "overwrite": "choose another output_dir, or delete this one",
    "resume_from_checkpoint": "interrupted runs of a comparison restart",
    "save_strategy": "runs of a comparison keep no checkpoints",
    "save_steps": "runs of a comparison keep no checkpoints",
}
# settings that all methods share
_SHARED = (
    "task_data model_name_or_path model_revision dtype load_in_4bit load_in_8bit prompt_format chat_template_path"
).split()
NOT_PER_METHOD = FIXED_SETTINGS | {
    "output_dir": "runs are in runs/NAME/seed-N of the comparison's output_dir",
    **dict.fromkeys(_SHARED, "all methods use the same rows and model; set it above methods"),
}
NOT_IN_TUNE = NOT_PER_METHOD | {"reference_data": "a pool cannot be tuned; add a method for each pool"}
OWN_KEYS = ("seeds", "baseline", "methods", "evaluation")
ENTRY_KEYS = ("method", "seeds", "tune")


@dataclass(frozen=True)
class EvaluationPlan:
    """How every model is evaluated.

    Attributes:
        suites: Suites of the table; see `dualselect.evaluation.load_suites`.
        validation_suites: Suites for tuning; needed for `tune`.
        judges: See `dualselect.judges.load_judge`; None means `refusal`.
        pairwise_judges: Judges for win rates against the baseline.
        average: Names of the suites averaged in Safety Avg; empty means those with harmful prompts.
        limit: Use only the first prompts of each suite.
        kl_to_start: Also measure the KL divergence from the start model on safe responses.
        generation: Generation settings.
        judge_settings: Server settings of the judges.
    """

    suites: list[str] = field(default_factory=lambda: ["builtin"])
    validation_suites: list[str] = field(default_factory=list)
    judges: list[str] | None = None
    pairwise_judges: list[str] = field(default_factory=list)
    average: list[str] = field(default_factory=list)
    limit: int | None = None
    kl_to_start: bool = False
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    judge_settings: JudgeSettings = field(default_factory=JudgeSettings)


@dataclass(frozen=True)
class Entry:
    """One method of a comparison, a line of the table.

    Attributes:
        name: Its name in the table.
        base: The method's name in `METHODS`.
        method: The method with its settings and this name.
        settings: Training settings for this entry only.
        seeds: Its seeds.
        candidates: Candidate settings, of the method or of training; empty without tuning.
    """

    name: str
    base: str
    method: Method
    settings: dict[str, Any]
    seeds: list[int]
    candidates: list[dict[str, Any]] = field(default_factory=list)

    def with_settings(self, chosen: Mapping[str, Any]) -> "Entry":
        """A copy with changed settings, of the method or of training.

        Raises:
            ConfigError: A value has the wrong type.
        """
        own = {name: _number(value) for name, value in chosen.items() if name in self.method.setting_names}
        other = {name: typed_value(name, value, self.name) for name, value in chosen.items() if name not in own}
        return replace(self, method=replace(self.method, **own), settings=self.settings | other)


@dataclass(frozen=True)
class ComparisonConfig:
    """A comparison.

    Attributes:
        folder: Output folder.
        settings: Settings of `dualselect train` for all runs.
        seeds: Seeds of entries without their own.
        baseline: Name of the baseline entry; None without one.
        entries: The methods, in the order of the file.
        evaluation: How models are evaluated.
    """

    folder: Path
    settings: dict[str, Any]
    seeds: list[int]
    baseline: str | None
    entries: list[Entry]
    evaluation: EvaluationPlan

    @property
    def model(self) -> str:
        """Name of the start model."""
        return str(self.settings.get("model_name_or_path") or EMBEDDED_MODEL)


def _number(value: Any) -> Any:
    """Convert numbers such as `1e-3`, which YAML reads as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def read_comparison(path: str | Path, output_dir: str | None = None) -> ComparisonConfig:
    """Read and check the config file of a comparison.

    Args:
        path: The YAML file.
        output_dir: Overrides the file's output_dir.

    Raises:
        ConfigError: The file cannot be read, or a key or value cannot be used; the message names it and the nearest
            known key.
    """
    where = str(path)
    content = read_mapping(Path(path))
    check_keys(content, [*OWN_KEYS, *setting_types()], where)
    _refuse_fixed(content, FIXED_SETTINGS, where)
    folder = output_dir or content.get("output_dir")
    if not folder:
        raise ConfigError(f"{where}: output_dir is missing: set the folder of the comparison, such as runs/compare")
    settings = {name: value for name, value in content.items() if name not in (*OWN_KEYS, "output_dir")}
    settings = {name: typed_value(name, value, where) for name, value in settings.items()}
    seeds = seed_list(content.get("seeds", [0]), where)
    entries = _entries(content.get("methods"), seeds, where)
    config = ComparisonConfig(
        Path(str(folder)).expanduser().absolute(),
        settings,
        seeds,
        _baseline(content.get("baseline"), entries, where),
        entries,
        _evaluation(content.get("evaluation") or {}, where),
    )
    _check(config, where)
    return config


def _refuse_fixed(content: Mapping[str, Any], fixed: Mapping[str, str], where: str) -> None:
    for name, instead in fixed.items():
        if name in content:
            kind = "in a comparison" if name in FIXED_SETTINGS else "here"
            raise ConfigError(f"{where}: {name} cannot be set {kind}: {instead}")


def _entries(value: Any, seeds: list[int], where: str) -> list[Entry]:
    named = named_settings(value, METHODS, where)
    return [_entry(name, settings, seeds, where) for name, settings in named.items()]


def _entry(name: str, content: Any, seeds: list[int], where: str) -> Entry:
    where = f"{where}: methods: {name}"
    if name == START or not re.fullmatch(r"[\w.+-]+", name):
        raise ConfigError(f"{where}: a name may contain letters, digits and _ . + -, and must not be {START}")
    if not isinstance(content, dict):
        raise ConfigError(f"{where} is {content!r}; use settings such as {{key: value}}, or nothing")
    base = content.get("method", name)
    check_keys({str(base): None}, METHODS, f"{where}: method")
    method = replace(METHODS[base], name=name)
    known = [*ENTRY_KEYS, *method.setting_names, *setting_types()]
    check_keys(content, known, where)
    _refuse_fixed(content, NOT_PER_METHOD, where)
    settings = {key: value for key, value in content.items() if key not in ENTRY_KEYS}
    own_seeds = seed_list(content["seeds"], where) if "seeds" in content else seeds
    entry = Entry(name, base, method, {}, own_seeds).with_settings(settings)
    return replace(entry, candidates=_candidates(content.get("tune"), entry, known, where))


def _candidates(tune: Any, entry: Entry, known: list[str], where: str) -> list[dict[str, Any]]:
    if tune is None:
        if entry.method.tuned_by == "validation_loss":
            raise ConfigError(
                f"{where}: without tuning it equals sft: add tune: {{learning_rate: [1e-4, 1e-3], "
                "num_train_epochs: [1, 2]}"
            )
        return []
    if not isinstance(tune, dict) or not all(isinstance(values, list) and values for values in tune.values()):
        raise ConfigError(f"{where}: tune is {tune!r}; use lists of candidates, such as {{rho: [0.2, 0.5, 1.0]}}")
    check_keys(tune, [name for name in known if name not in ENTRY_KEYS], f"{where}: tune")
    _refuse_fixed(tune, NOT_IN_TUNE, f"{where}: tune")
    return [dict(zip(tune, values, strict=True)) for values in itertools.product(*tune.values())]


def _baseline(value: Any, entries: list[Entry], where: str) -> str | None:
    names = [entry.name for entry in entries]
    if value is None:
        return "sft" if "sft" in names else None
    check_keys({str(value): None}, names, f"{where}: baseline")
    return str(value)


def _evaluation(content: Any, where: str) -> EvaluationPlan:
    where = f"{where}: evaluation"
    if not isinstance(content, dict):
        raise ConfigError(f"{where} is {content!r}; use {{suites: [builtin], judges: [refusal]}}")
    own = [one.name for one in fields(EvaluationPlan) if one.name != "generation"]
    generation = [one.name for one in fields(GenerationSettings)]
    check_keys(content, [*own, *generation], where)
    values = {name: content[name] for name in own if content.get(name) is not None}
    for name in ("suites", "validation_suites", "judges", "pairwise_judges", "average"):
        if isinstance(values.get(name), str):
            values[name] = [values[name]]
        if name in values and not (isinstance(values[name], list) and all(isinstance(it, str) for it in values[name])):
            raise ConfigError(f"{where}: {name} is {values[name]!r}; use a list of names")
    judge = values.pop("judge_settings", {})
    if not isinstance(judge, dict):
        raise ConfigError(f"{where}: judge_settings is {judge!r}; use {{base_url: ADDRESS, model: NAME}}")
    check_keys(judge, [one.name for one in fields(JudgeSettings)], f"{where}: judge_settings")
    try:
        return EvaluationPlan(
            **values,
            generation=GenerationSettings(**{name: content[name] for name in generation if name in content}),
            judge_settings=JudgeSettings(**judge),
        )
    except TypeError as error:
        raise ConfigError(f"{where}: a value has the wrong type ({error}); do not quote numbers") from None


def _check(config: ComparisonConfig, where: str) -> None:
    """Find, before any run, everything that would stop one."""
    limit = config.evaluation.limit
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ConfigError(f"{where}: evaluation: limit is {limit!r}; use 1 or more, or omit it")
    if config.evaluation.pairwise_judges and config.baseline is None:
        raise ConfigError(f"{where}: win rates need a baseline: add sft to methods, or set baseline: NAME")
    if config.evaluation.average and not config.evaluation.pairwise_judges:
        raise ConfigError(
            f"{where}: evaluation: average is over win rates, which need a pairwise judge: set pairwise_judges, such "
            "as [openai:preference], or omit average"
        )
    for entry in config.entries:
        differences = getattr(entry.method, "differences", {})
        for candidate in entry.candidates or [{}]:
            variant = entry.with_settings(candidate)
            if fixed := sorted(set(differences) & set(variant.settings)):
                raise ConfigError(
                    f"{where}: methods: {entry.name} is defined by {fixed[0]}: {differences[fixed[0]]}; to change it, "
                    "add an entry of another name with method: dualselect"
                )
            settings = run_settings(variant.method, config.settings | variant.settings, config.folder)
            check_packages(settings.training)
            check_model_packages(settings.model)
            if variant.method.needs_pool and not settings.data.reference_data:
                raise ConfigError(
                    f"{where}: methods: {entry.name} needs a pool of safe responses: set reference_data, "
                    "such as [builtin:refusal:64], or remove the method"
                )
        if entry.candidates and entry.method.tuned_by == "balance" and not config.evaluation.validation_suites:
            raise ConfigError(
                f"{where}: methods: {entry.name}: tune needs validation prompts: add validation_suites: "
                "[builtin:validation] to evaluation"
            )
