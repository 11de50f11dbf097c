"""Rows and evaluations of the tasks."""

import json

import pytest

from dualselect.errors import ConfigError, DataError
from dualselect.sequences.builtin_tasks import CONVENTIONS, builtin_task
from dualselect.sequences.config import sequence_config
from dualselect.sequences.instance_files import read_instances
from dualselect.sequences.tasks import load_tasks


def written(path, count, name="q", **columns):
    columns = columns or {"prompt": "{name} {n}?", "answer": "a{n}"}
    rows = [{key: text.format(name=name, n=n) for key, text in columns.items()} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def loaded(tmp_path, *tasks):
    return load_tasks(sequence_config({"output_dir": str(tmp_path / "out"), "tasks": list(tasks)}))


def test_prompt_and_answer_are_a_row_and_a_prompt_with_its_answer(tmp_path):
    data, test = written(tmp_path / "a.jsonl", 30), written(tmp_path / "t.jsonl", 5, "other")
    task = loaded(tmp_path, {"name": "a", "data": data, "evaluation": test})["a"]
    assert task.rows[0]["completion"][0]["content"] == "a0"
    assert [prompt.answer for prompt in task.suite.prompts] == [f"a{n}" for n in range(5)]
    assert task.suite.prompts[0].chosen == "a0"  # so that its probability is measured too
    assert len(task.file.read_text().splitlines()) == 30


def test_a_part_is_held_out_of_a_task_without_an_evaluation(tmp_path):
    task = loaded(tmp_path, {"name": "a", "data": written(tmp_path / "a.jsonl", 200)})["a"]
    assert (len(task.rows), len(task.suite.prompts)) == (180, 20)
    prompts = {row["prompt"][0]["content"] for row in task.rows}
    assert not prompts & {prompt.messages[-1]["content"] for prompt in task.suite.prompts}


def test_rows_with_one_prompt_stay_on_one_side(tmp_path):
    data = written(tmp_path / "a.jsonl", 40, prompt="same?", answer="a{n}") + ""
    more = written(tmp_path / "b.jsonl", 40)
    task = loaded(tmp_path, {"name": "a", "data": [data, more]})["a"]
    trained = {row["prompt"][0]["content"] for row in task.rows}
    assert not trained & {prompt.messages[-1]["content"] for prompt in task.suite.prompts}


def test_too_few_rows_to_hold_some_out(tmp_path):
    with pytest.raises(ConfigError, match="too few to hold 10 out"):
        loaded(tmp_path, {"name": "a", "data": written(tmp_path / "a.jsonl", 12)})


def test_an_evaluation_prompt_that_another_task_trains_on_is_refused(tmp_path):
    apart = written(tmp_path / "e.jsonl", 3, "apart")
    first = {"name": "a", "data": written(tmp_path / "a.jsonl", 30), "evaluation": apart}
    second = {
        "name": "b",
        "data": written(tmp_path / "b.jsonl", 30, "other"),
        "evaluation": written(tmp_path / "t.jsonl", 3),
    }
    with pytest.raises(DataError, match=r"task b: 3 of 3 evaluation prompts are trained on .* of task a"):
        loaded(tmp_path, first, second)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize("content", ["", None])
def test_missing_and_empty_data_are_refused(tmp_path, content):
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"a\.jsonl"):
        loaded(tmp_path, {"name": "a", "data": str(path)})


def test_instances_with_a_definition(tmp_path):
    path = tmp_path / "task1.json"
    path.write_text(json.dumps({"Definition": ["Do it."], "Instances": [{"input": "x", "output": ["one", "two"]}]}))
    (row,) = read_instances(str(path))
    assert row["prompt"][0]["content"] == "Do it.\n\nx"
    assert row["completion"][0]["content"] == "one"
    path.write_text(json.dumps({"Instances": [{"input": "x"}]}))
    with pytest.raises(DataError, match="Super-NaturalInstructions"):
        read_instances(str(path))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_builtin_tasks_share_no_message_between_splits_and_no_answer_between_tasks(name):
    train, test = builtin_task(name, "train"), builtin_task(name, "test")
    assert len(train) >= 120
    assert len(test) >= 40
    texts = [{row["prompt"][0]["content"] for row in rows} for rows in (train, test)]
    assert not texts[0] & texts[1]
    assert train == builtin_task(name, "train")
    answers = {row["completion"][0]["content"] for row in train}
    others = {word for other, (_, words) in CONVENTIONS.items() if other != name for word in words.values()}
    assert len(answers) == 4
    assert not answers & others
