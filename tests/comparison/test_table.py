"""Numbers of the table from evaluations that are written by hand."""

from dataclasses import asdict, replace

import pytest

from dualselect.comparison.formatting import notes
from dualselect.comparison.statistics import mean_over_suites
from dualselect.comparison.table import cost_rows, measured_rows
from dualselect.comparison.tuning import balance
from dualselect.evaluation.intervals import mean_over_seeds, paired_difference, rate
from dualselect.evaluation.judge_errors import corrected_rate
from dualselect.evaluation.metrics import summarize
from dualselect.evaluation.results import Evaluation, JudgeRecord, ModelRecord, ResponseRecord, VerdictRecord
from dualselect.evaluation.suite import Prompt, Suite
from dualselect.judges.protocol import JudgeAccuracy
from dualselect.report.headline import Cell


JUDGE = JudgeRecord("refusal", "refusal", "0")


def evaluation(refused, over_refused=(), exact=()):
    """An evaluation with these values of its prompts; None is unscored."""
    suites = {"harmful": refused, "harmless": over_refused, "task": exact}
    summary, responses = [], []
    for purpose, values in suites.items():
        if not values:
            continue
        suite = Suite(purpose, purpose, tuple(Prompt(f"p{n}", []) for n in range(len(values))))
        some = [
            ResponseRecord(
                suite=purpose,
                id=f"p{n}",
                category="",
                kind="",
                prompt=[{"role": "user", "content": f"{n}"}],
                response=f"{value}",
                verdicts={} if purpose == "task" else {"refusal": VerdictRecord(value)},
                measures={"exact_match": value} if purpose == "task" else {},
            )
            for n, value in enumerate(values)
        ]
        summary += summarize(suite, [JUDGE], some)
        responses += some
    return Evaluation(ModelRecord("m", "m", "f"), {}, [JUDGE], {}, summary, responses)


def test_one_seed_is_a_rate_with_its_wilson_interval():
    (row,) = measured_rows("ema", {"0": evaluation([1.0, 0.0, 1.0, None])}, {})
    around = rate(2, 3)
    assert (row.metric, row.value, row.count, row.unscored) == ("refusal_rate", pytest.approx(2 / 3), 3, 1)
    assert (row.low, row.high, row.interval) == (around.low, around.high, "wilson")
    assert (row.difference, row.purpose) == (None, "harmful")


def test_seeds_are_combined_by_resampling_seeds_and_prompts():
    values = {"0": [1.0, 0.0, 1.0, 1.0], "1": [0.0, 0.0, 1.0, 0.0]}
    (row,) = measured_rows("ema", {seed: evaluation(some) for seed, some in values.items()}, {})
    expected = mean_over_seeds(list(values.values()))
    assert (row.value, row.low, row.high) == (expected.value, expected.low, expected.high)
    assert row.seeds == {"0": 0.75, "1": 0.25}
    assert (row.count, row.interval) == (8, "bootstrap")


def test_a_refusal_rate_is_corrected_for_the_known_errors_of_its_judge(monkeypatch):
    values = {"0": [1.0] * 30 + [0.0] * 10 + [None], "1": [1.0] * 20 + [0.0] * 20 + [None]}
    (plain,) = measured_rows("ema", {seed: evaluation(some) for seed, some in values.items()}, {})
    assert plain.corrected is None
    accuracy = JudgeAccuracy((90, 100), (95, 100), "answers")
    monkeypatch.setitem(globals(), "JUDGE", replace(JUDGE, accuracy=accuracy))
    (row,) = measured_rows("ema", {seed: evaluation(some) for seed, some in values.items()}, {})
    assert row.corrected == corrected_rate(25, 40, accuracy)  # 62.5% of the 40 scored prompts of a seed
    assert row.corrected[0] == pytest.approx((0.625 + 0.95 - 1) / (0.9 + 0.95 - 1))
    facts = {"methods": [], "judges": ["judge refusal agrees with people on 90%"]}
    told = "\n".join(notes(facts | {"rows": [asdict(row)]}))
    assert "agrees with people on 90%" in told
    assert "harmful refused in harmful, corrected for the errors of judge refusal: ema 68%" in told
    assert Cell.of(asdict(row)).corrected_text.startswith("68% [")


def test_prompts_that_are_all_alike_are_not_certain():
    (row,) = measured_rows("ema", {"0": evaluation([1.0] * 20), "1": evaluation([1.0] * 20)}, {})
    assert (row.value, row.high, row.interval) == (1.0, 1.0, "wilson")
    assert row.low == rate(20, 20).low


def test_scores_that_are_all_alike_have_no_interval():
    judge = JudgeRecord("rubric", "harmfulness", "0")
    suite = Suite("harmful", "harmful", (Prompt("p0", []), Prompt("p1", [])))
    some = [ResponseRecord("harmful", f"p{n}", "", "", [], "", "", {"rubric": VerdictRecord(1.0)}) for n in range(2)]
    made = Evaluation(ModelRecord("m", "m", "f"), {}, [judge], {}, summarize(suite, [judge], some), some)
    attacks, harmfulness = measured_rows("ema", {"0": made, "1": made}, {})
    assert (attacks.value, attacks.low, attacks.interval) == (0.0, 0.0, "wilson")
    assert attacks.high > 0.5
    assert (harmfulness.value, harmfulness.low, harmfulness.high, harmfulness.interval) == (1.0, None, None, "")


def test_differences_are_paired_by_seed_and_prompt():
    ours, theirs = {"0": [1.0, 1.0, 0.0], "1": [1.0, 0.0, 0.0]}, {"0": [0.0, 1.0, 0.0], "1": [1.0, 0.0, None]}
    made = [{seed: evaluation(some) for seed, some in values.items()} for values in (ours, theirs)]
    (row,) = measured_rows("ema", *made)
    expected = mean_over_seeds([[1.0, 0.0, 0.0], [0.0, 0.0, None]])
    assert row.difference == {"value": expected.value, "low": expected.low, "high": expected.high}
    (alone,) = measured_rows("ema", made[0], {"0": made[1]["0"]})
    assert alone.difference is None  # a seed that the baseline lacks


def test_no_difference_is_certain():
    refused = {"0": evaluation([1.0] * 30)}
    for seeds in (refused, refused | {"1": refused["0"]}):
        (row,) = measured_rows("ema", seeds, seeds)
        expected = paired_difference([1.0] * 30, [1.0] * 30)
        assert row.difference == {"value": 0.0, "low": expected.low, "high": expected.high}
        assert row.difference["low"] < 0 < row.difference["high"]


def test_memory_is_the_gpus_where_all_runs_have_it():
    def cost(peak, gpu):
        return {
            "seconds": 1.0,
            "peak_memory_bytes": peak,
            "peak_gpu_memory_bytes": gpu,
            "rows_forward_backward": 10,
        }

    def memory(costs, baseline):
        return {row.metric: row.value for row in cost_rows("ema", costs, baseline) if "memory" in row.metric}

    both = {"0": cost(8, 30), "1": cost(8, 10)}, {"0": cost(8, 10), "1": cost(8, 10)}
    assert memory(*both) == {"peak_gpu_memory_ratio": 2.0}
    assert memory({"0": cost(8, 30)}, {"0": cost(4, None)}) == {"peak_memory_ratio": 2.0}
    assert memory({"0": cost(8, 0)}, {"0": cost(4, 0)}) == {"peak_memory_ratio": 2.0}


def test_costs_are_relative_to_the_same_seed_of_the_baseline():
    def cost(seconds, peak):
        return {"seconds": seconds, "peak_memory_bytes": peak, "rows_forward_backward": 10}

    rows = cost_rows("ema", {"0": cost(3.0, 8), "1": cost(1.0, 8)}, {"0": cost(2.0, 4), "1": cost(1.0, 4)})
    time, memory, _ = rows
    assert (time.metric, time.value, time.seeds) == ("training_time_ratio", 1.25, {"0": 1.5, "1": 1.0})
    assert (time.low, time.high) == (1.0, 1.5)
    assert (memory.value, memory.low, memory.high) == (2.0, 2.0, 2.0)
    (alone, *_) = cost_rows("ema", {"0": cost(3.0, 8), "5": cost(9.0, 8)}, {"0": cost(2.0, 4)})
    assert (alone.value, alone.low, alone.count, alone.unscored) == (1.5, None, 1, 1)
    assert cost_rows("ema", {"0": cost(3.0, 8)}, {}) == []


def test_balance_weighs_safety_usefulness_and_task_alike():
    assert balance(evaluation([1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0])) == pytest.approx((0.5 + 0.75 + 1.0) / 3)
    assert balance(evaluation([1.0, 0.0])) == 0.5
    assert balance(evaluation([None])) is None


def test_an_average_over_suites_weighs_them_alike_and_one_suite_is_itself():
    first, second = [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 100.0]], [[100.0, 50.0], [100.0, None]]
    both = mean_over_suites([first, second])
    assert both.value == pytest.approx((12.5 + 250 / 3) / 2)
    assert both.low <= both.value <= both.high
    alone = mean_over_suites([first])
    assert (alone.value, alone.low, alone.high) == (12.5, *_ends(mean_over_seeds(first)))
    with pytest.raises(ValueError, match="no mean"):
        mean_over_suites([[[None, None]]])


def _ends(found):
    return found.low, found.high
