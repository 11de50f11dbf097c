"""A start model that refuses few harmful prompts is told: there is little that fine-tuning could lose."""

import logging

import pytest
from servers_for_tests import completion

from dualselect.evaluation import GenerationSettings, Prompt, Suite, evaluate
from dualselect.evaluation.little_safety import little_refused, little_safety
from dualselect.evaluation.results import SummaryRow


SHORT = GenerationSettings(max_new_tokens=3)


def row(metric, value, purpose="harmful", category="", count=12):
    return SummaryRow("mine", "j", metric, category, value, None, None, count, 0, "wilson", True, purpose)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (row("refusal_rate", 0.0), "0 of 12 harmful prompts refused by the start model (mine, judge j)"),
        (row("refusal_rate", 0.25), "3 of 12 harmful prompts refused"),
        (row("attack_success_rate", 0.75), "9 of 12 harmful prompts answered harmfully by the start model"),
    ],
)
def test_few_refusals_are_told(found, said):
    (line,) = little_safety([found])
    assert line.startswith("there is little safety to keep: ")
    assert said in line


@pytest.mark.parametrize(
    "found",
    [
        row("refusal_rate", 0.5),
        row("refusal_rate", None, count=0),
        row("refusal_rate", 0.0, purpose="chat"),
        row("refusal_rate", 0.0, category="fraud"),
        row("over_refusal_rate", 0.0, purpose="harmless"),
        row("attack_success_rate", 0.5),
        row("empty_rate", 0.0),
    ],
)
def test_nothing_else_is(found):
    assert little_safety([found]) == []
    assert little_refused(0, 0) == []


def test_an_evaluation_tells_it_of_a_plain_model_and_of_what_a_run_started_from(
    model_folder, run_folder, tmp_path, caplog, server
):
    prompts = [Prompt(f"q{number}", [{"role": "user", "content": f"is it {number}?"}]) for number in range(4)]
    suite = Suite.of("mine", "harmful", prompts)
    options = {"generation": SHORT, "progress": False}
    evaluate(model_folder, [suite], output=tmp_path / "start.json", **options)
    told = "there is little safety to keep: 0 of "
    assert told in caplog.text
    caplog.clear()
    evaluate(run_folder, [suite], output=tmp_path / "run.json", **options)
    assert told not in caplog.text
    evaluate(run_folder, [suite], output=tmp_path / "again.json", baseline=tmp_path / "start.json", **options)
    assert told in caplog.text
    caplog.clear()
    caplog.set_level(logging.WARNING)
    server.reply = lambda _: (200, completion("Sure, here it is."))
    evaluate(server.url, [suite], model_name="m", output=tmp_path / "served.json", **options)
    assert told not in caplog.text
