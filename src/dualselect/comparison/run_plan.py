"""One run of a comparison as a file: what its process is to do, and whether it was done.

RUN/
  plan.json    what the run is trained by; a run is never trained by another plan in the same folder
  done.json    how it was evaluated, written last; the run is done when this says what is wanted now
  failure.json why the last try failed; absent otherwise
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dualselect.comparison.config import ComparisonConfig, Entry, EvaluationPlan
from dualselect.embedded_model import EMBEDDED_MODEL
from dualselect.errors import ConfigError
from dualselect.files import write_json
from dualselect.methods import Method
from dualselect.run_directory import ADAPTER, EVALUATION


TEST, VALIDATION = "test", "validation"
"""Names of the two evaluations."""
PLAN_FILE, DONE_FILE, FAILURE_FILE = "plan.json", "done.json", "failure.json"


@dataclass(frozen=True)
class RunPlan:
    """What the process of one run does.

    Attributes:
        title: What people are told.
        folder: The run directory.
        training: `name`, `method`, `method_settings`, `settings`: what it is trained by; empty for the start model.
        evaluation: `name`, `model` (None is the run itself), `suites`, ...: how it is measured then; empty when it is
            not.
    """

    title: str
    folder: str
    training: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self.folder)

    def is_done(self) -> bool:
        """Whether it was trained, and evaluated as is wanted now."""
        trained = not self.training or (self.path / ADAPTER).is_dir()
        return trained and read_json(self.path / DONE_FILE) == self.evaluation

    def is_trained(self) -> bool:
        """Whether nothing is left but the evaluation."""
        return not self.training or (self.path / ADAPTER).is_dir()

    def check_same(self) -> None:
        """Refuse a folder that holds a run by another plan.

        Raises:
            ConfigError: It does; the message names the first difference.
        """
        before = read_json(self.path / PLAN_FILE)
        if before is None or before == self.training:
            return
        then, now = _flat(before), _flat(self.training)
        name = next(name for name in (*now, *then) if then.get(name) != now.get(name))
        raise ConfigError(
            f"{self.path} holds a run by other settings ({name} {then.get(name)!r} then, {now.get(name)!r} now): put "
            "the setting back, name another output_dir, or delete that folder"
        )

    def take_over(self, other: "RunPlan") -> None:
        """Make this run of another one that was trained by the same settings, whole or not at all."""
        if self.path.exists() or not other.is_trained():
            return
        beside = self.path.with_name(f".{self.path.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(other.path, beside, ignore=shutil.ignore_patterns(EVALUATION, DONE_FILE, PLAN_FILE))
        write_json(beside / PLAN_FILE, self.training)
        beside.rename(self.path)


def start_plan(config: ComparisonConfig) -> RunPlan:
    """The measurement of the model before any fine-tuning."""
    model = str(config.settings.get("model_name_or_path") or EMBEDDED_MODEL)
    folder = config.folder / "runs" / "start"
    return RunPlan("start model", str(folder), {}, _evaluation(config, TEST, model, with_divergence=False))


def entry_plan(config: ComparisonConfig, entry: Entry, seed: int) -> RunPlan:
    """One run of the table."""
    folder = config.folder / "runs" / entry.name / f"seed-{seed}"
    evaluation = _evaluation(config, TEST, None)
    return RunPlan(f"{entry.name}, seed {seed}", str(folder), _training(config, entry, entry.method, seed), evaluation)


def candidate_plan(config: ComparisonConfig, entry: Entry, number: int) -> RunPlan:
    """One run that settings are chosen by, on the entry's first seed."""
    tried = entry.with_settings(entry.candidates[number])
    folder = config.folder / "tuning" / entry.name / f"{number:02d}"
    told = ", ".join(f"{name} {value}" for name, value in entry.candidates[number].items())
    by_loss = entry.method.tuned_by == "validation_loss"
    return RunPlan(
        f"{entry.name}, trying {told}",
        str(folder),
        _training(config, tried, tried.method.candidate(), entry.seeds[0]),
        {} if by_loss else _evaluation(config, VALIDATION, None, with_divergence=False),
    )


def read_json(path: Path) -> Any:
    """The content of a file; None when it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _training(config: ComparisonConfig, entry: Entry, method: Method, seed: int) -> dict[str, Any]:
    settings = config.settings | entry.settings | {"seed": seed}
    own = {name: getattr(method, name) for name in method.setting_names}
    return _plain({"name": entry.name, "method": entry.base, "method_settings": own, "settings": settings})


def _evaluation(
    config: ComparisonConfig, name: str, model: str | None, *, with_divergence: bool = True
) -> dict[str, Any]:
    plan: EvaluationPlan = config.evaluation
    start = ("base" if plan.kl_to_start else None) if with_divergence else None
    return _plain(
        {
            "name": name,
            "model": model,
            "suites": plan.suites if name == TEST else plan.validation_suites,
            "judges": plan.judges,
            "limit": plan.limit,
            "start_model": start,
            "prompt_format": config.settings.get("prompt_format", "chat"),
            "generation": asdict(plan.generation),
            "judge_settings": asdict(plan.judge_settings),
        }
    )


def _plain(value: Any) -> Any:
    """As it will be read back."""
    return json.loads(json.dumps(value))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: one for part, inner in value.items() for key, one in _flat(inner, part).items()}
