"""One run of a comparison as a file: what its process is to do, and whether it was done.

RUN/
  plan.json    what the run is trained by; one that was trained is never taken for a run by another plan
  done.json    how it was evaluated, written last; the run is done when this says what is wanted now. And how many
               verdicts may still be found: the next call asks for them
  failure.json why the last try failed; absent otherwise
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dualselect.comparison.config import ComparisonConfig, Entry, EvaluationPlan
from dualselect.comparison.materials import Materials
from dualselect.errors import ConfigError, DataError
from dualselect.evaluation.local_model import LOADING
from dualselect.methods import Method
from dualselect.models.foreign_code import SETTING as TRUST
from dualselect.runs.directory import ADAPTER, EVALUATION
from dualselect.runs.settings import LoraModelConfig
from dualselect.system.files import write_json
from dualselect.system.visible import without_credentials


TEST, VALIDATION = "test", "validation"
"""Names of the two evaluations."""
CHANGES_NO_RUN = {"allow_prompt_overlap"}
"""Settings by which a run may be another one and is not."""
PLAN_FILE, DONE_FILE, FAILURE_FILE = "plan.json", "done.json", "failure.json"


@dataclass(frozen=True)
class RunPlan:
    """What the process of one run does.

    Attributes:
        title: What people are told.
        folder: The run directory.
        training: `name`, `method`, `method_settings`, `settings`: what it is trained by, and `made_of`, hashes of its
            rows and model; empty for the start model.
        evaluation: `name`, `model` (None is the run itself), `suites`, ...: how it is measured then, and `made_of`,
            hashes of what is measured with; empty when it is not.
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
        return self.is_trained() and self._done.get("evaluation") == self._shown_evaluation

    def is_trained(self) -> bool:
        """Whether nothing is left but the evaluation."""
        return not self.training or (self.path / ADAPTER).is_dir()

    def still_unscored(self) -> int:
        """Verdicts that asking once more may find, because what left them unscored may have passed."""
        return int(self._done.get("still_unscored", 0))

    def write_done(self, still_unscored: int) -> None:
        """Say that it is done."""
        write_json(self.path / DONE_FILE, {"evaluation": self._shown_evaluation, "still_unscored": still_unscored})

    def check_made_of(self) -> None:
        """Refuse a folder that holds a trained run on other rows, or of another model.

        Raises:
            DataError: It does; the message names the setting behind which something changed.
        """
        then, now = (plan.get("made_of", {}) for plan in (self._before, self.training))
        if changed := [name for name in {**now, **then} if then.get(name) != now.get(name)]:
            raise DataError(
                f"{self.path} was made of something else than {' and '.join(changed)} stands for now: its numbers "
                "cannot be compared with new ones. Put back what changed, name another output_dir, or delete runs "
                f"and tuning in {self.path.parents[2]}"
            )

    def check_same(self) -> None:
        """Refuse a folder that holds a trained run by another plan; one that failed before may be begun anew.

        Raises:
            ConfigError: It does; the message names the first difference.
            DataError: It holds a run on other rows, or of another model.
        """
        then, now = (_flat(plan | {"made_of": None}) for plan in (self._before, self.training))
        for name in (*now, *then):
            if name not in CHANGES_NO_RUN and then.get(name) != now.get(name):
                raise ConfigError(
                    f"{self.path} holds a run by other settings ({name} {then.get(name)!r} then, {now.get(name)!r} "
                    "now): put the setting back, name another output_dir, or delete that folder"
                )
        self.check_made_of()

    def take_over(self, other: "RunPlan") -> None:
        """Make this run of another one that was trained by the same settings, whole or not at all."""
        if self.path.exists() or not other.is_trained():
            return
        beside = self.path.with_name(f".{self.path.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(other.path, beside, ignore=shutil.ignore_patterns(EVALUATION, DONE_FILE, PLAN_FILE))
        write_json(beside / PLAN_FILE, self.training)
        beside.rename(self.path)

    @property
    def _before(self) -> dict[str, Any]:
        """What the run in this folder was trained by, if one was."""
        before: dict[str, Any] | None = read_json(self.path / PLAN_FILE) if self.is_trained() else None
        return self.training if before is None else before

    @property
    def _shown_evaluation(self) -> dict[str, Any]:
        """The evaluation without the password of a judge's address."""
        judge = self.evaluation.get("judge_settings", {})
        if not judge.get("base_url"):
            return self.evaluation
        return self.evaluation | {"judge_settings": judge | {"base_url": without_credentials(judge["base_url"])}}

    @property
    def _done(self) -> dict[str, Any]:
        done: dict[str, Any] = read_json(self.path / DONE_FILE) or {}
        return done


@dataclass(frozen=True)
class Plans:
    """Makes the plans of a comparison.

    Attributes:
        config: The comparison.
        materials: What its names stand for.
    """

    config: ComparisonConfig
    materials: Materials

    def start(self) -> RunPlan:
        """The measurement of the model before any fine-tuning."""
        evaluation = self._evaluation(TEST, self.config.model, with_divergence=False)
        return RunPlan("start model", str(self.config.folder / "runs" / "start"), {}, evaluation)

    def entry(self, entry: Entry, seed: int) -> RunPlan:
        """One run of the table."""
        folder = self.config.folder / "runs" / entry.name / f"seed-{seed}"
        training = self._training(entry, entry.method, seed)
        return RunPlan(f"{entry.name}, seed {seed}", str(folder), training, self._evaluation(TEST, None))

    def candidate(self, entry: Entry, number: int) -> RunPlan:
        """One run that settings are chosen by, on the entry's first seed."""
        tried = entry.with_settings(entry.candidates[number])
        folder = self.config.folder / "tuning" / entry.name / f"{number:02d}"
        told = ", ".join(f"{name} {value}" for name, value in entry.candidates[number].items())
        by_loss = entry.method.tuned_by == "validation_loss"
        return RunPlan(
            f"{entry.name}, trying {told}",
            str(folder),
            self._training(tried, tried.method.candidate(), entry.seeds[0]),
            {} if by_loss else self._evaluation(VALIDATION, None, with_divergence=False),
        )

    def _training(self, entry: Entry, method: Method, seed: int) -> dict[str, Any]:
        settings = self.config.settings | entry.settings | {"seed": seed}
        own = {name: getattr(method, name) for name in method.setting_names}
        return _plain(
            {
                "name": entry.name,
                "method": entry.base,
                "method_settings": own,
                "settings": settings,
                "made_of": self.materials.of_run(settings),
            }
        )

    def _evaluation(self, name: str, model: str | None, *, with_divergence: bool = True) -> dict[str, Any]:
        plan: EvaluationPlan = self.config.evaluation
        start = ("base" if plan.kl_to_start else None) if with_divergence else None
        made_of = {"asked": self.materials.asked[name]}
        of_start = {}
        if model is not None:  # what a run was trained from, and how it is loaded, is in its training
            made_of["model"] = self.materials.model
            of_start["model_settings"] = self._model_settings()
        return _plain(
            of_start
            | {
                "name": name,
                "model": model,
                "suites": plan.suites if name == TEST else plan.validation_suites,
                "judges": plan.judges,
                "limit": plan.limit,
                "start_model": start,
                "prompt_format": self.config.settings.get("prompt_format", "chat"),
                "generation": asdict(plan.generation),
                "judge_settings": asdict(plan.judge_settings),
                "made_of": made_of,
            }
        )

    def _model_settings(self) -> dict[str, Any]:
        """How the runs load their model, so that the start model is measured in the same precision."""
        given = {name: value for name, value in self.config.settings.items() if name in LOADING or name == TRUST}
        return {"dtype": LoraModelConfig().dtype} | given


def read_json(path: Path) -> Any:
    """The content of a file; None when it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _plain(value: Any) -> Any:
    """As it will be read back."""
    return json.loads(json.dumps(value))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: one for part, inner in value.items() for key, one in _flat(inner, part).items()}
