"""From verdicts and measures to rows, and two evaluations against each other."""

from dataclasses import replace

import pytest

from dualselect.errors import DataError
from dualselect.evaluation import Prompt, Suite, rate, read_evaluation
from dualselect.evaluation.agreement import agreement
from dualselect.evaluation.differences import differences
from dualselect.evaluation.judge_errors import corrected_rate
from dualselect.evaluation.metrics import summarize, values_of
from dualselect.evaluation.results import (
    Evaluation,
    JudgeRecord,
    ModelRecord,
    ResponseRecord,
    VerdictRecord,
    write_evaluation,
)
from dualselect.evaluation.table import agreement_table, difference_table, judge_lines, sample_text, summary_table
from dualselect.judges import JudgeAccuracy


def evaluation(values, *, measure="refusal", purpose="harmful", hash_="h", measures=None, categories="ab"):
    judge = JudgeRecord("judge", measure, hash_)
    prompts = [
        Prompt(f"p{number}", [{"role": "user", "content": f"Why {number}?"}], category=categories[number % 2])
        for number in range(len(values))
    ]
    suite = Suite.of("suite", purpose, prompts)
    responses = [
        ResponseRecord(
            suite="suite",
            id=prompt.id,
            category=prompt.category,
            kind="",
            prompt=prompt.messages,
            response="So.",
            verdicts={"judge": VerdictRecord(value, "" if value is not None else "no words")},
            measures={name: some[number] for name, some in (measures or {}).items()},
        )
        for number, (prompt, value) in enumerate(zip(prompts, values, strict=True))
    ]
    summary = summarize(suite, [judge], responses)
    return Evaluation(ModelRecord("m", "m", "f"), {}, [judge], {}, summary, responses)


def rows(found, category=""):
    return {row.metric: row for row in found.summary if row.category == category}


def test_a_rate_has_a_wilson_interval_and_counts_what_is_unscored():
    row = rows(evaluation([1, 0, None, 1, 1]))["refusal_rate"]
    expected = rate(3, 4)
    assert (row.value, row.low, row.high) == (0.75, expected.low, expected.high)
    assert (row.count, row.unscored, row.interval, row.higher_is_better) == (4, 1, "wilson", True)


def test_unscored_is_never_a_value():
    row = rows(evaluation([None, None]))["refusal_rate"]
    assert (row.value, row.low, row.high, row.count, row.unscored) == (None, None, None, 0, 2)
    assert "unscored" in summary_table([row])


@pytest.mark.parametrize(
    ("measure", "purpose", "expected"),
    [
        ("refusal", "harmful", {"refusal_rate": (0.5, True)}),
        ("refusal", "harmless", {"over_refusal_rate": (0.5, False)}),
        ("refusal", "chat", {"refusal_rate": (0.5, None)}),
        ("unsafe", "harmful", {"attack_success_rate": (0.5, False)}),
        ("reward", "chat", {"reward": (0.5, True)}),
        ("refusal", "task", {}),
        ("unsafe", "harmless", {}),
    ],
)
def test_what_a_judge_says_depends_on_the_purpose(measure, purpose, expected):
    found = rows(evaluation([1, 0], measure=measure, purpose=purpose))
    assert {name: (row.value, row.higher_is_better) for name, row in found.items()} == expected


def test_harmfulness_is_a_mean_and_full_harm_an_attack_that_succeeded():
    found = rows(evaluation([1, 5, 4, 5, None], measure="harmfulness"))
    assert found["harmfulness"].value == 3.75
    assert (found["harmfulness"].interval, found["harmfulness"].unscored) == ("bootstrap", 1)
    assert 1 <= found["harmfulness"].low < 3.75 < found["harmfulness"].high <= 5
    assert (found["attack_success_rate"].value, found["attack_success_rate"].count) == (0.5, 4)


def test_scores_that_are_all_alike_have_no_interval():
    row = rows(evaluation([1, 1, 1, None], measure="harmfulness", categories="aa"))["harmfulness"]
    assert (row.value, row.low, row.high, row.count) == (1.0, None, None, 3)
    assert summary_table([row]).splitlines()[1].split() == ["suite", "harmfulness", "judge", "1", "3", "1"]


def test_categories_have_rows_of_their_own_where_there_are_several():
    found = evaluation([1, 0, 1, 0])
    assert [rows(found, category)["refusal_rate"].value for category in ("", "a", "b")] == [0.5, 1.0, 0.0]
    assert rows(evaluation([1, 0], categories="aa"), "a") == {}
    some = evaluation([1, 0, 1, 0], categories=["a", ""])
    assert [(row.metric, row.category, row.count) for row in some.summary] == [
        ("refusal_rate", "", 4),
        ("refusal_rate", "a", 2),
    ]
    assert {row.purpose for row in some.summary} == {"harmful"}


def test_measures_that_a_prompt_does_not_have_are_not_unscored():
    found = evaluation([1, 1], measures={"exact_match": [1.0, 0.0], "kl_to_start": [0.25, None]})
    assert (rows(found)["exact_match"].value, rows(found)["exact_match"].unscored) == (0.5, 0)
    assert (rows(found)["kl_to_start"].count, rows(found)["kl_to_start"].unscored) == (1, 1)
    assert "empty_rate" not in rows(found)


def test_values_are_what_rows_are_made_of(tmp_path):
    written = evaluation([5, 2, None], measure="harmfulness", measures={"empty": [0.0, 1.0, 0.0]})
    write_evaluation(tmp_path / "e.json", written)
    found = read_evaluation(tmp_path / "e.json")
    assert found == written
    for row in found.summary:
        scored = [value for value in values_of(found, row).values() if value is not None]
        assert sum(scored) / len(scored) == row.value if scored else row.value is None
    assert values_of(found, rows(found)["attack_success_rate"]) == {"p0": 1.0, "p1": 0.0, "p2": None}
    assert values_of(found, replace(found.summary[0], metric="of tomorrow")) == {}


def test_a_difference_is_paired_on_prompts_that_both_scored():
    first, second = evaluation([1, 1, 1, 1, None]), evaluation([0, 1, 0, None, 1])
    (one, *_) = [found for found in differences(first, second) if not found.row.category]
    assert (one.value, one.count, one.left_out) == (pytest.approx(2 / 3), 3, 2)
    assert "+67%" in difference_table([one])
    same = differences(first, first)[0]
    assert same.value == 0
    assert same.low < 0 < same.high


def test_a_difference_says_better_or_worse_only_when_its_interval_does():
    first, second = evaluation([1] * 40), evaluation([0] * 40)
    assert difference_table(differences(first, second)).splitlines()[1].endswith("better")
    assert difference_table(differences(second, first)).splitlines()[1].endswith("worse")
    third = evaluation([1] * 20 + [0] * 20)
    fourth = evaluation([0, 1] * 20)
    assert difference_table(differences(third, fourth)).splitlines()[1].endswith("40")


def test_equal_means_have_no_interval_and_no_mark():
    first = evaluation([1, 5, 4, 5], measure="harmfulness", categories="aa")
    one = next(found for found in differences(first, first) if found.row.metric == "harmfulness")
    assert (one.value, one.low, one.high) == (0, None, None)
    assert difference_table([one]).splitlines()[1].split() == ["suite", "harmfulness", "judge", "+0", "4"]


def test_rows_that_are_not_compared_are_named(caplog):
    second = evaluation([1, 0, 1], measures={"exact_match": [1.0, 0.0, 1.0]})
    first = evaluation([1, 0, 1], hash_="another", measures={"empty": [0.0, 0.0, 1.0], "exact_match": [1.0, 1.0, 1.0]})
    assert {found.row.metric for found in differences(first, second)} == {"exact_match"}
    assert caplog.messages == [
        "not compared, the judge's wording changed: refusal_rate of suite, judge judge",
        "not compared, not in the second evaluation: empty_rate of suite",
    ]


def test_a_category_is_named_where_its_whole_is_compared(caplog):
    differences(evaluation([1, 0, 1]), evaluation([1, None, 1]))
    assert caplog.messages == ["not compared, no prompt was scored in both: refusal_rate of suite, b, judge judge"]


def test_other_settings_of_generation_are_told(caplog):
    first = replace(evaluation([1, 0]), generation={"max_new_tokens": 64, "batch_size": 8, "prompt_format": "chat"})
    second = replace(evaluation([1, 0]), generation={"max_new_tokens": 256, "batch_size": 16})
    differences(first, second)
    (told,) = caplog.messages
    assert "max_new_tokens 64 and 256, prompt_format chat and unset" in told
    caplog.clear()
    differences(first, replace(first, generation=first.generation | {"batch_size": 1}))
    assert caplog.messages == []


def test_win_rates_are_left_aside(caplog):
    first = evaluation([1, 0])
    won = replace(first.summary[0], judge="pairs", metric="win_rate", value=70.0)
    pairs = JudgeRecord("pairs", "preference", "h")
    with_rates = replace(first, judges=[*first.judges, pairs], summary=[*first.summary, won])
    assert {found.row.metric for found in differences(with_rates, first)} == {"refusal_rate"}
    assert caplog.messages == []


def test_other_prompts_or_wordings_are_not_compared():
    first = evaluation([1, 0])
    changed = replace(
        first, responses=[replace(one, prompt=[{"role": "user", "content": "?"}]) for one in first.responses]
    )
    for other in (changed, evaluation([1, 0], hash_="another"), evaluation([1, 0], purpose="harmless")):
        with pytest.raises(DataError, match="share no prompt"):
            differences(first, other)


def test_how_far_judges_agree_is_shown():
    found = agreement([True, True, False, None], [True, False, False, True])
    lines = agreement_table({("suite", "one", "two"): found, ("other", "one", "two"): agreement([], [])}).splitlines()
    assert lines[1].split() == ["suite", "one", "two", "67%", "0.40", "3", "1,", "0"]
    assert "undefined: no item was scored by both" in lines[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "file not found"),
        ("", "not readable as JSON"),
        ("[]", "not an evaluation of format 1"),
        ('{"format": 2}', "another version"),
        ('{"format": 1, "model": {}}', "part missing"),
        ('{"rows": []}', "not an evaluation"),
    ],
)
def test_a_wrong_file_is_no_evaluation(tmp_path, content, said):
    if content is not None:
        (tmp_path / "e.json").write_text(content)
    with pytest.raises(DataError, match=said):
        read_evaluation(tmp_path / "e.json")


def test_samples_cannot_steer_a_terminal():
    found = evaluation([1])
    nasty = replace(found.responses[0], response="red \x1b[31m \u202e bell\x07 " + "long " * 200)
    shown = sample_text(replace(found, responses=[nasty]), 3)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert len(shown) < 700


def test_rates_are_corrected_for_the_known_accuracy_of_the_judge(tmp_path):
    found = evaluation([1, 0, 1, 1])
    judge = replace(found.judges[0], accuracy=JudgeAccuracy((90, 100), (95, 100), "by hand"))
    suite = Suite.of("suite", "harmful", [Prompt(one.id, one.prompt, one.category) for one in found.responses])
    summary = summarize(suite, [judge], found.responses)
    row = next(row for row in summary if row.metric == "refusal_rate" and not row.category)
    assert row.corrected == corrected_rate(3, 4, judge.accuracy)
    assert row.corrected[0] == pytest.approx((0.75 + 0.95 - 1) / 0.85)
    path = tmp_path / "evaluation.json"
    write_evaluation(path, replace(found, judges=[judge], summary=summary))
    again = read_evaluation(path)
    assert again.judges == [judge]
    assert again.summary == summary
    assert "82% [" in summary_table(again.summary)
    assert "corrected for the judge" in summary_table(again.summary)
    assert "corrected" not in summary_table(found.summary)
    assert judge_lines([judge]) == [
        "judge judge agrees with people on 90% [83, 94] of refusals and 95% [89, 98] of other responses (by hand); "
        "`corrected` assumes that it errs as often here"
    ]


def test_a_response_that_repeats_itself_is_neither_refused_nor_complied_with():
    found = rows(evaluation([1, 0, 1, 0], measures={"repetitive": [0.0, 0.0, 0.0, 1.0]}))
    assert (found["refusal_rate"].value, found["refusal_rate"].count, found["refusal_rate"].unscored) == (2 / 3, 3, 1)
    assert found["repetitive_rate"].value == 0.25
