"""The plan of one run of a comparison, and whether it is done.

RUN/
  plan.json    training settings and hashes of inputs; a trained run is never reused for another plan
  done.json    evaluation settings, written last (the run is done if they equal the current ones), and the number of
               missing verdicts that the next call requests again
  failure.json why the last attempt failed; absent otherwise
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dualselect.comparison.config import ComparisonConfig, Entry, EvaluationPlan
from dualselect.comparison.input_hashes import InputHashes
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
IRRELEVANT_SETTINGS = {"allow_prompt_overlap"}
"""Settings that do not affect a run."""
PLAN_FILE, DONE_FILE, FAILURE_FILE = "plan.json", "done.json", "failure.json"


@dataclass(frozen=True)
class RunPlan:
    """The work of one run process.

    Attributes:
        title: Name of the run in messages.
        folder: The run directory.
        training: `name`, `method`, `method_settings`, `settings` and `input_hashes`; empty for the start model.
        evaluation: `name`, `model` (None for the run itself), `suites`, ... and `input_hashes`; empty without an
            evaluation.
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
        """Whether the run is trained, and evaluated with the current settings."""
        return self.is_trained() and self._done.get("evaluation") == self._shown_evaluation

    def is_trained(self) -> bool:
        """Whether training is finished or not needed."""
        return not self.training or (self.path / ADAPTER).is_dir()

    def still_unscored(self) -> int:
        """Number of missing verdicts that a retry may get."""
        return int(self._done.get("still_unscored", 0))

    def write_done(self, still_unscored: int) -> None:
        """Mark the run as done."""
        write_json(self.path / DONE_FILE, {"evaluation": self._shown_evaluation, "still_unscored": still_unscored})

    def check_input_hashes(self) -> None:
        """Refuse a trained run on other rows or from another model.

        Raises:
            DataError: An input changed; the message names its setting.
        """
        old, new = (plan.get("input_hashes", {}) for plan in (self._trained_by, self.training))
        if changed := [name for name in {**new, **old} if old.get(name) != new.get(name)]:
            raise DataError(
                f"{' and '.join(changed)} changed since {self.path} was trained: its results cannot be compared with "
                "new ones. Restore the old version, choose another output_dir, or delete the folders runs and tuning "
                f"in {self.path.parents[2]}"
            )

    def check_same(self) -> None:
        """Refuse a trained run with other settings or inputs.

        Raises:
            ConfigError: A setting differs; the message names the first one.
            DataError: An input changed.
        """
        old, new = (_flat(plan | {"input_hashes": None}) for plan in (self._trained_by, self.training))
        for name in (*new, *old):
            if name not in IRRELEVANT_SETTINGS and old.get(name) != new.get(name):
                raise ConfigError(
                    f"{self.path} holds a run with other settings ({name} was {old.get(name)!r}, now "
                    f"{new.get(name)!r}): "
                    "restore the setting, choose another output_dir, or delete that folder"
                )
        self.check_input_hashes()

    def copy_run(self, other: "RunPlan") -> None:
        """Copy a run that was trained with the same settings, atomically."""
        if self.path.exists() or not other.is_trained():
            return
        temporary = self.path.with_name(f".{self.path.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(other.path, temporary, ignore=shutil.ignore_patterns(EVALUATION, DONE_FILE, PLAN_FILE))
        write_json(temporary / PLAN_FILE, self.training)
        temporary.rename(self.path)

    @property
    def _trained_by(self) -> dict[str, Any]:
        """The plan of the trained run in this folder, else the current plan."""
        stored: dict[str, Any] | None = read_json(self.path / PLAN_FILE) if self.is_trained() else None
        return self.training if stored is None else stored

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
class RunPlans:
    """Creates the plans of a comparison.

    Attributes:
        config: The comparison.
        input_hashes: Hashes of its inputs.
    """

    config: ComparisonConfig
    input_hashes: InputHashes

    def start(self) -> RunPlan:
        """The evaluation of the start model."""
        evaluation = self._evaluation(TEST, self.config.model, with_divergence=False)
        return RunPlan("start model", str(self.config.folder / "runs" / "start"), {}, evaluation)

    def entry(self, entry: Entry, seed: int) -> RunPlan:
        """The run of an entry with one seed."""
        folder = self.config.folder / "runs" / entry.name / f"seed-{seed}"
        training = self._training(entry, entry.method, seed)
        return RunPlan(f"{entry.name}, seed {seed}", str(folder), training, self._evaluation(TEST, None))

    def candidate(self, entry: Entry, number: int) -> RunPlan:
        """The run of a candidate setting, with the entry's first seed."""
        variant = entry.with_settings(entry.candidates[number])
        folder = self.config.folder / "tuning" / entry.name / f"{number:02d}"
        settings = ", ".join(f"{name} {value}" for name, value in entry.candidates[number].items())
        by_loss = entry.method.tuned_by == "validation_loss"
        return RunPlan(
            f"{entry.name}, trying {settings}",
            str(folder),
            self._training(variant, variant.method.candidate(), entry.seeds[0]),
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
                "input_hashes": self.input_hashes.of_run(settings),
            }
        )

    def _evaluation(self, name: str, model: str | None, *, with_divergence: bool = True) -> dict[str, Any]:
        plan: EvaluationPlan = self.config.evaluation
        start = ("base" if plan.kl_to_start else None) if with_divergence else None
        input_hashes = {"prompts": self.input_hashes.prompts[name]}
        start_settings = {}
        if model is not None:  # the training plan of a run covers its model
            input_hashes["model"] = self.input_hashes.model
            start_settings["model_settings"] = self._model_settings()
        return _plain(
            start_settings
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
                "input_hashes": input_hashes,
            }
        )

    def _model_settings(self) -> dict[str, Any]:
        """How runs load their model, so that the start model is evaluated in the same precision."""
        given = {name: value for name, value in self.config.settings.items() if name in LOADING or name == TRUST}
        return {"dtype": LoraModelConfig().dtype} | given


def read_json(path: Path) -> Any:
    """Content of a JSON file; None if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _plain(value: Any) -> Any:
    """Convert to what JSON reads back."""
    return json.loads(json.dumps(value))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: one for part, inner in value.items() for key, one in _flat(inner, part).items()}
