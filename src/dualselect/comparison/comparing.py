"""A comparison from its file: everything checked, then chosen, trained and measured run by run, then told."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dualselect.comparison.checking import Measured, check_apart, measured_with
from dualselect.comparison.config import START, ComparisonConfig, Entry
from dualselect.comparison.figure import pareto_figure
from dualselect.comparison.materials import Materials, read_rows
from dualselect.comparison.preferences import averaged_suites, win_rate_rows
from dualselect.comparison.results import COMPARISON_FILE, FIGURE_FILE, TABLE_FILE, write_comparison
from dualselect.comparison.run_plan import TEST, Plans, RunPlan, read_json
from dualselect.comparison.running import Runs, Tell
from dualselect.comparison.table import Costs, cost_rows, measured_rows
from dualselect.comparison.tuning import Tuning, tuning_of
from dualselect.errors import DataError, DualSelectError
from dualselect.evaluation.little_safety import little_safety
from dualselect.evaluation.results import Evaluation, read_evaluation
from dualselect.evaluation.store import Store
from dualselect.methods.cost import COST_FILE
from dualselect.models.loading import check_location
from dualselect.runs.config_file import RECORD_KEY
from dualselect.runs.directory import CONFIG_FILE, EVALUATION
from dualselect.system.files import refuse_foreign, write_text
from dualselect.system.lock import folder_lock


PREFERENCES_FILE = "preferences.jsonl"


@dataclass
class _Line:
    """What became of one entry."""

    entry: Entry
    tuning: Tuning | None = None
    plans: dict[str, RunPlan] = field(default_factory=dict)

    @property
    def done(self) -> dict[str, RunPlan]:
        return {seed: plan for seed, plan in self.plans.items() if plan.is_done()}


def compare(config: ComparisonConfig, tell: Tell = print) -> Path:
    """Do the runs that are not done, and write the table, the figure and the files behind them.

    Args:
        config: The comparison.
        tell: Called with lines for people.

    Returns:
        The path of comparison.json; runs that failed are told in it, and tried again by the next call.

    Raises:
        DualSelectError: Something cannot be used; the message says what to change.
        OSError: The folder cannot be written.
    """
    check_location(config.model)
    with folder_lock(config.folder):
        refuse_foreign(config.folder, (COMPARISON_FILE, TABLE_FILE, FIGURE_FILE), marks=("runs",))
        measured = measured_with(config)
        rows = read_rows(config)
        check_apart(config, rows, measured)
        plans = Plans(config, Materials.of(config, rows, measured.asked))
        _refuse_other_runs(plans)
        total = 1 + sum(len(entry.seeds) + len(entry.candidates) for entry in config.entries)
        runs = Runs(total, tell)
        runs.do([plans.start()])
        for line in little_safety(_read(plans.start()).summary) if plans.start().is_done() else ():
            tell(f"  warning: {line}")
        lines = [_tuned(plans, entry, runs) for entry in config.entries]
        for seed in dict.fromkeys(seed for entry in config.entries for seed in entry.seeds):
            runs.do([line.plans[str(seed)] for line in lines if str(seed) in line.plans])
        _refuse_changed_model(lines)
        return _written(plans, lines, measured, runs.failed)


def _refuse_other_runs(plans: Plans) -> None:
    """Everything that is there already must be what the comparison would do now, or else no run is begun."""
    for entry in plans.config.entries:
        of_seeds = [plans.entry(entry, seed) for seed in entry.seeds]
        for plan in of_seeds:
            plan.check_made_of()
        # the settings of an entry with candidates are not known before one is chosen
        for plan in [plans.candidate(entry, number) for number in range(len(entry.candidates))] or of_seeds:
            plan.check_same()


def _tuned(plans: Plans, entry: Entry, runs: Runs) -> _Line:
    line = _Line(entry)
    if entry.candidates:
        tried = [plans.candidate(entry, number) for number in range(len(entry.candidates))]
        runs.do(tried)
        line.tuning = tuning_of(entry, tried)
        runs.failed = line.tuning.missing | runs.failed
        if line.tuning.chosen is None:
            return line
        line.entry = entry.with_settings(entry.candidates[line.tuning.chosen])
    line.plans = {str(seed): plans.entry(line.entry, seed) for seed in entry.seeds}
    if line.tuning is not None and line.tuning.chosen is not None:
        first, best = line.plans[str(entry.seeds[0])], tried[line.tuning.chosen]
        if first.training == best.training:
            first.take_over(best)
    return line


def _refuse_changed_model(lines: Sequence[_Line]) -> None:
    """Of files that changed between two runs of one call only the runs' own records tell."""
    seen: dict[str, Path] = {}
    for plan in (plan for line in lines for plan in line.done.values()):
        record = yaml.safe_load((plan.path / CONFIG_FILE).read_text(encoding="utf-8"))[RECORD_KEY]
        seen.setdefault(json.dumps(record["model"], sort_keys=True), plan.path)
    if len(seen) > 1:
        one, other, *_ = seen.values()
        raise DataError(
            f"the model changed between {one} and {other}: their numbers cannot be compared. Delete the runs of the "
            "old one, or name another output_dir"
        )


def _written(plans: Plans, lines: Sequence[_Line], measured: Measured, failed: dict[str, str]) -> Path:
    config, start = plans.config, plans.start()
    evaluations = {line.entry.name: _evaluations(line) for line in lines}
    baseline = evaluations.get(config.baseline or "", {})
    costs = {line.entry.name: {seed: read_json(plan.path / COST_FILE) for seed, plan in line.done.items()}
             for line in lines}  # fmt: skip
    average = averaged_suites(config.evaluation.average, measured.suites) if measured.pairwise else []
    rows = measured_rows(START, {"": _read(start)}, {}) if start.is_done() else []
    with Store.opened(config.folder / PREFERENCES_FILE) as store:
        for name, found in evaluations.items():
            rows += measured_rows(name, found, {} if name == config.baseline else baseline)
            for judge in measured.pairwise:
                try:
                    rows += win_rate_rows(name, found, baseline, measured.suites, average, judge, store)
                except DualSelectError as error:  # everything else of the table is known, and stays
                    failed[f"{name}, win rates by {judge.name}"] = str(error)
            rows += cost_rows(name, costs[name], costs.get(config.baseline or "", {}))
    facts = {
        "baseline": config.baseline,
        "seeds": config.seeds,
        "model": config.settings.get("model_name_or_path"),
        "average": average,
        "methods": [
            _start_facts(start, failed),
            *(_facts(config, line, costs[line.entry.name], failed) for line in lines),
        ],
    }
    path = write_comparison(config.folder, facts, rows)
    _draw(config.folder)
    return path


def _draw(folder: Path) -> None:
    figure = pareto_figure(json.loads((folder / COMPARISON_FILE).read_text(encoding="utf-8")))
    if figure is None:
        (folder / FIGURE_FILE).unlink(missing_ok=True)
    else:
        write_text(folder / FIGURE_FILE, figure)


def _evaluations(line: _Line) -> dict[str, Evaluation]:
    return {seed: _read(plan) for seed, plan in line.done.items()}


def _read(plan: RunPlan) -> Evaluation:
    return read_evaluation(plan.path / EVALUATION / f"{TEST}.json")


def _start_facts(plan: RunPlan, failed: dict[str, str]) -> dict[str, Any]:
    runs = {"": "runs/start"} if plan.is_done() else {}
    told = {"": failed[plan.title]} if plan.title in failed else {}
    return {"name": START, "method": None, "paper": "", "needs": [], "settings": {}, "seeds": [], "runs": runs,
            "steps": {}, "tuning": None, "failed": told}  # fmt: skip


def _facts(config: ComparisonConfig, line: _Line, costs: Costs, failed: dict[str, str]) -> dict[str, Any]:
    entry = line.entry
    return {
        "name": entry.name,
        "method": entry.base,
        "paper": entry.method.paper,
        "needs": sorted(entry.method.needs),
        "settings": entry.method.settings | entry.settings,
        "seeds": [int(seed) for seed in line.done],
        "runs": {seed: str(plan.path.relative_to(config.folder)) for seed, plan in line.done.items()},
        "steps": {seed: cost["steps"] for seed, cost in costs.items()},
        "tuning": line.tuning.facts() if line.tuning else None,
        "failed": {
            title.removeprefix(f"{entry.name}, "): reason
            for title, reason in failed.items()
            if title.startswith(f"{entry.name}, ")
        },
    }
