"""What a comparison cannot be measured with is told before anything is trained."""

import json

import pytest

from dualselect.comparison import compare, read_comparison
from dualselect.comparison.checking import check_no_overlap, load_evaluation_setup
from dualselect.comparison.input_hashes import read_rows
from dualselect.errors import ConfigError, DataError


TUNED = {"ema": {"tune": {"decay": [0.5, 0.9]}}}


@pytest.fixture
def prompts(tmp_path):
    """The path of a file of prompts with answers."""
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"question {n}?", "answer": f"{n}"}) + "\n" for n in range(3)))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation": {"suites": ["harmful:{prompts}"], "kl_to_start": True}}, "no suite has safe responses"),
        (
            {"methods": TUNED, "evaluation": {"suites": ["builtin:2"], "validation_suites": ["chat:{prompts}"]}},
            "validation_suites chat:{prompts} measure none of these with the given judges",
        ),
        (
            {
                "methods": TUNED,
                "evaluation": {"suites": ["builtin:2"], "validation_suites": ["harmful:{prompts}"], "judges": []},
            },
            "measure none of these with the given judges",
        ),
        (
            {"evaluation": {"suites": ["task:{prompts}"], "judges": ["refusal"]}},
            "judge refusal measures refusal, which says nothing of the suites",
        ),
        ({"evaluation": {"suites": ["builtin:2"], "judges": ["refusal", "refusal"]}}, "named twice"),
        ({"evaluation": {"suites": ["builtin:2"], "pairwise_judges": ["refusal"]}}, "scores single responses"),
    ],
)
def test_suites_and_judges_that_do_not_fit_are_refused(comparison_file, prompts, tmp_path, changes, message):
    changes = json.loads(json.dumps(changes).replace("{prompts}", str(prompts)))
    with pytest.raises(ConfigError) as error:
        compare(read_comparison(comparison_file(**changes)), pytest.fail)
    assert message.replace("{prompts}", str(prompts)) in str(error.value)
    assert not (tmp_path / "comparison").exists()


@pytest.fixture
def check(comparison_file, prompts):
    """Checks the rows of a comparison against its prompts; `{prompts}` is the file of prompts."""

    def run(**changes):
        config = read_comparison(comparison_file(**json.loads(json.dumps(changes).replace("{prompts}", str(prompts)))))
        check_no_overlap(config, read_rows(config), load_evaluation_setup(config))

    return run


@pytest.fixture
def rows(tmp_path):
    """The path of a file of rows, one of which has a prompt of `prompts`, in other letters."""
    path = tmp_path / "rows.jsonl"
    texts = ["something else?", "Question  2?"]
    path.write_text("".join(json.dumps({"prompt": text, "completion": "No."}) + "\n" for text in texts))
    return path


@pytest.mark.parametrize("role", ["task_data", "reference_data"])
def test_prompts_of_the_table_may_not_be_trained_on(check, rows, role, caplog):
    measured = {"evaluation": {"suites": ["task:{prompts}"]}}
    with pytest.raises(DataError, match=rf"1 of 2 rows of {role} share their prompt with suites \(such as 'qu"):
        check(**measured, **{role: [str(rows)]})
    assert caplog.messages == []
    check(**measured, **{role: [str(rows)]}, allow_prompt_overlap=True)
    assert caplog.messages == [f"1 of 2 rows of {role} share their prompt with suites"]


def test_prompts_that_settings_are_chosen_on_are_warned_of(check, rows, caplog):
    evaluation = {"suites": ["builtin:2"], "validation_suites": ["task:{prompts}"]}
    check(evaluation=evaluation, task_data=[str(rows)])
    assert caplog.messages == ["1 of 2 rows of task_data share their prompt with validation_suites"]


def test_a_pool_that_one_line_alone_has_is_looked_at(check, rows):
    methods = {"sft": {"reference_data": []}, "safe_mix": {"reference_data": [str(rows)]}}
    with pytest.raises(DataError, match="rows of reference_data"):
        check(methods=methods, evaluation={"suites": ["chat:{prompts}"]})


def test_prompts_are_not_both_chosen_on_and_told_for_another_purpose(comparison_file, prompts):
    evaluation = {"suites": [f"harmless:{prompts}"], "validation_suites": [f"chat:{prompts}"]}
    with pytest.raises(DataError, match="3 prompts are in both suites and validation_suites"):
        load_evaluation_setup(read_comparison(comparison_file(evaluation=evaluation)))


@pytest.mark.parametrize("name", ["examples/compare.yaml", "small.yaml", "five_minutes.yaml"])
def test_the_files_that_are_shipped_measure_what_is_not_trained_on(repository_root, tmp_path, name, caplog):
    path = repository_root / ("" if "/" in name else "benchmarks/safety_utility") / name
    config = read_comparison(path, str(tmp_path))
    check_no_overlap(config, read_rows(config), load_evaluation_setup(config))
    assert caplog.messages == []
