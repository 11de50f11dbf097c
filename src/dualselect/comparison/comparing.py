"""Run a comparison: check everything, tune, train and evaluate run by run, write the results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from dualselect.comparison.checking import EvaluationSetup, check_no_overlap, load_evaluation_setup
from dualselect.comparison.config import START, ComparisonConfig, Entry
from dualselect.comparison.figure import pareto_figure
from dualselect.comparison.input_hashes import InputHashes, read_rows
from dualselect.comparison.results import COMPARISON_FILE, FIGURE_FILE, TABLE_FILE, write_comparison
from dualselect.comparison.run_plan import TEST, RunPlan, RunPlans, read_json
from dualselect.comparison.run_queue import PrintLine, RunQueue
from dualselect.comparison.table import Costs, cost_rows, measured_rows
from dualselect.comparison.tuning import Tuning, tuning_of
from dualselect.comparison.win_rates import averaged_suites, win_rate_rows
from dualselect.errors import DataError, DualSelectError
from dualselect.evaluation.little_safety import little_safety
from dualselect.evaluation.results import Evaluation, read_evaluation
from dualselect.evaluation.store import Store
from dualselect.evaluation.table import judge_lines
from dualselect.methods.cost import COST_FILE
from dualselect.models.loading import check_location
from dualselect.runs.config_file import RECORD_KEY
from dualselect.runs.directory import CONFIG_FILE, EVALUATION
from dualselect.system.files import refuse_foreign, write_text
from dualselect.system.lock import folder_lock


PREFERENCES_FILE = "preferences.jsonl"


@dataclass
class _EntryRuns:
    """The runs of one entry."""

    entry: Entry
    tuning: Tuning | None = None
    plans: dict[str, RunPlan] = field(default_factory=dict)

    @property
    def done(self) -> dict[str, RunPlan]:
        return {seed: plan for seed, plan in self.plans.items() if plan.is_done()}


def compare(config: ComparisonConfig, print_line: PrintLine = print) -> Path:
    """Run what is not done yet, and write the table, the figure and comparison.json.

    Args:
        config: The comparison.
        print_line: Receives progress messages, one line each.

    Returns:
        Path of comparison.json. It lists failed runs; the next call retries them.

    Raises:
        DualSelectError: An input cannot be used; the message says what to change.
        OSError: The folder cannot be written.
    """
    check_location(config.model)
    with folder_lock(config.folder):
        refuse_foreign(config.folder, (COMPARISON_FILE, TABLE_FILE, FIGURE_FILE), marks=("runs", "tuning"))
        setup = load_evaluation_setup(config)
        rows = read_rows(config)
        check_no_overlap(config, rows, setup)
        plans = RunPlans(config, InputHashes.of(config, rows, setup.prompt_hashes))
        _refuse_other_runs(plans)
        total = 1 + sum(len(entry.seeds) + len(entry.candidates) for entry in config.entries)
        queue = RunQueue(total, print_line)
        is_new = not plans.start().is_done()
        queue.do([plans.start()])
        for line in little_safety(_read(plans.start()).summary) if is_new and plans.start().is_done() else ():
            print_line(f"  warning: {line}")
        entry_runs = [_tuned(plans, entry, queue) for entry in config.entries]
        for seed in dict.fromkeys(seed for entry in config.entries for seed in entry.seeds):
            queue.do([runs.plans[str(seed)] for runs in entry_runs if str(seed) in runs.plans])
        _refuse_changed_model(entry_runs)
        return _write_results(plans, entry_runs, setup, queue.failed)


def _refuse_other_runs(plans: RunPlans) -> None:
    """Check that existing runs match the comparison, before any run starts."""
    for entry in plans.config.entries:
        seed_plans = [plans.entry(entry, seed) for seed in entry.seeds]
        for plan in seed_plans:
            plan.check_input_hashes()
        # the settings of an entry with candidates are unknown until one is chosen
        for plan in [plans.candidate(entry, number) for number in range(len(entry.candidates))] or seed_plans:
            plan.check_same()


def _tuned(plans: RunPlans, entry: Entry, queue: RunQueue) -> _EntryRuns:
    runs = _EntryRuns(entry)
    if entry.candidates:
        candidates = [plans.candidate(entry, number) for number in range(len(entry.candidates))]
        queue.do(candidates)
        runs.tuning = tuning_of(entry, candidates)
        queue.failed = runs.tuning.missing | queue.failed
        if runs.tuning.chosen is None:
            return runs
        runs.entry = entry.with_settings(entry.candidates[runs.tuning.chosen])
    runs.plans = {str(seed): plans.entry(runs.entry, seed) for seed in entry.seeds}
    if runs.tuning is not None and runs.tuning.chosen is not None:
        first, best = runs.plans[str(entry.seeds[0])], candidates[runs.tuning.chosen]
        if first.training == best.training:
            first.copy_run(best)
    return runs


def _refuse_changed_model(entry_runs: Sequence[_EntryRuns]) -> None:
    """Detect model files that changed between two runs of one call, by the records of the runs."""
    run_by_model: dict[str, Path] = {}
    for plan in (plan for runs in entry_runs for plan in runs.done.values()):
        record = yaml.safe_load((plan.path / CONFIG_FILE).read_text(encoding="utf-8"))[RECORD_KEY]
        run_by_model.setdefault(json.dumps(record["model"], sort_keys=True), plan.path)
    if len(run_by_model) > 1:
        one, other, *_ = run_by_model.values()
        raise DataError(
            f"the model changed between {one} and {other}: their results cannot be compared. Delete the runs of the "
            "old model, or choose another output_dir"
        )


def _write_results(
    plans: RunPlans, entry_runs: Sequence[_EntryRuns], setup: EvaluationSetup, failed: dict[str, str]
) -> Path:
    config, start = plans.config, plans.start()
    evaluations = {runs.entry.name: _evaluations(runs) for runs in entry_runs}
    baseline = evaluations.get(config.baseline or "", {})
    costs = {
        runs.entry.name: {seed: read_json(plan.path / COST_FILE) for seed, plan in runs.done.items()}
        for runs in entry_runs
    }
    average = averaged_suites(config.evaluation.average, setup.suites) if setup.pairwise else []
    rows = measured_rows(START, {"": _read(start)}, {}) if start.is_done() else []
    with Store.opened(config.folder / PREFERENCES_FILE) as store:
        for name, by_seed in evaluations.items():
            rows += measured_rows(name, by_seed, {} if name == config.baseline else baseline)
            for judge in setup.pairwise:
                try:
                    rows += win_rate_rows(name, by_seed, baseline, setup.suites, average, judge, store)
                except DualSelectError as error:  # keep the rest of the table
                    failed[f"{name}, win rates by {judge.name}"] = str(error)
            rows += cost_rows(name, costs[name], costs.get(config.baseline or "", {}))
    facts = {
        "baseline": config.baseline,
        "seeds": config.seeds,
        "model": config.settings.get("model_name_or_path"),
        "average": average,
        "judges": _judge_lines([start] if start.is_done() else [], entry_runs),
        "methods": [
            _start_facts(start, failed),
            *(_facts(config, runs, costs[runs.entry.name], failed) for runs in entry_runs),
        ],
    }
    path = write_comparison(config.folder, facts, rows)
    _draw(config.folder)
    return path


def _judge_lines(start: Sequence[RunPlan], entry_runs: Sequence[_EntryRuns]) -> list[str]:
    """How often the judges agree with people, a line each."""
    plans = [*start, *(plan for runs in entry_runs for plan in runs.done.values())]
    judges = {judge.name: judge for plan in plans[:1] for judge in _read(plan).judges if judge.accuracy is not None}
    return judge_lines([replace(judge, note="") for judge in judges.values()])


def _draw(folder: Path) -> None:
    figure = pareto_figure(json.loads((folder / COMPARISON_FILE).read_text(encoding="utf-8")))
    if figure is None:
        (folder / FIGURE_FILE).unlink(missing_ok=True)
    else:
        write_text(folder / FIGURE_FILE, figure)


def _evaluations(runs: _EntryRuns) -> dict[str, Evaluation]:
    return {seed: _read(plan) for seed, plan in runs.done.items()}


def _read(plan: RunPlan) -> Evaluation:
    return read_evaluation(plan.path / EVALUATION / f"{TEST}.json")


def _start_facts(plan: RunPlan, failed: dict[str, str]) -> dict[str, Any]:
    runs = {"": "runs/start"} if plan.is_done() else {}
    reasons = {"": failed[plan.title]} if plan.title in failed else {}
    return {"name": START, "method": None, "paper": "", "needs": [], "settings": {}, "seeds": [], "runs": runs,
            "steps": {}, "tuning": None, "failed": reasons}  # fmt: skip


def _facts(config: ComparisonConfig, runs: _EntryRuns, costs: Costs, failed: dict[str, str]) -> dict[str, Any]:
    entry = runs.entry
    return {
        "name": entry.name,
        "method": entry.base,
        "paper": entry.method.paper,
        "needs": sorted(entry.method.needs),
        "settings": entry.method.settings | entry.settings,
        "seeds": [int(seed) for seed in runs.done],
        "runs": {seed: str(plan.path.relative_to(config.folder)) for seed, plan in runs.done.items()},
        "steps": {seed: cost["steps"] for seed, cost in costs.items()},
        "tuning": runs.tuning.facts() if runs.tuning else None,
        "failed": {
            title.removeprefix(f"{entry.name}, "): reason
            for title, reason in failed.items()
            if title.startswith(f"{entry.name}, ")
        },
    }
