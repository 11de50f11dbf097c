"""The config file of a sequence."""

import json

import pytest

from dualselect.errors import ConfigError
from dualselect.sequences.config import SEQUENCE_METHODS, sequence_config
from dualselect.sequences.instance_files import ORDERS


TASKS = [{"name": "a", "data": "a.jsonl"}, {"name": "b", "data": "b.jsonl"}]


def config(**changed):
    return sequence_config({"output_dir": "out", "tasks": TASKS} | changed)


def test_six_lines_are_enough():
    found = config()
    assert [task.data for task in found.tasks] == [["a.jsonl"], ["b.jsonl"]]
    assert [method.name for method in found.methods] == ["dualselect"]
    assert (found.orders, found.seeds, found.memory.rows) == ([["a", "b"]], [0], 200)


def test_every_method_can_be_named_and_changed():
    found = config(methods=dict.fromkeys(SEQUENCE_METHODS) | {"mine": {"method": "er", "memory_size": 4, "lora_r": 8}})
    mine = found.methods[-1]
    assert (mine.method.memory_size, mine.settings) == (4, {"lora_r": 8})
    by_name = {method.name: method for method in found.methods}
    assert by_name["o_lora"].adapter == by_name["sequential_new"].adapter == "new"
    assert by_name["joint"].joint
    assert by_name["dualselect"].settings["task_token_budget"] == "1.0"
    assert by_name["dualselect_filter"].settings["task_token_budget"] == "0.9"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tasks": []}, "tasks is"),
        ({"tasks": [{"name": "a"}]}, "task 1 is"),
        ({"tasks": [*TASKS, TASKS[0]]}, "two tasks are called a"),
        ({"tasks": [{"name": "a/b", "data": "a"}]}, "letters, digits"),
        ({"tasks": [{"name": "a", "data": "a", "dat": 1}]}, "dat"),
        ({"task_data": ["a"]}, "under tasks"),
        ({"reference_data": ["a"]}, "memory of earlier tasks"),
        ({"seed": 1}, "seeds"),
        ({"methods": ["dualselec"]}, "dualselect"),
        ({"methods": {"er": {"memory_siz": 1}}}, "memory_siz"),
        ({"methods": {"er": {"adapter": "old"}}}, "continued or new"),
        ({"orders": [["a"]]}, "each of the tasks"),
        ({"memory": {"rows": 0}}, "rows is 0"),
        ({"memory": {"policy": "best"}}, "policy is 'best'"),
        ({"memory": {"row": 5}}, "row"),
        ({"evaluation": {"limit": 0}}, "limit is 0"),
        ({"learning_rat": 1}, "learning_rat"),
        ({"tasks": {"folder": "x"}}, "a folder and an order"),
        ({"tasks": {"folder": "x", "order": "o_lora_9"}}, "o_lora_1"),
    ],
)
def test_what_cannot_be_used_is_named(changed, message):
    with pytest.raises(ConfigError, match=message):
        config(**changed)


def test_an_output_folder_is_needed():
    with pytest.raises(ConfigError, match="output_dir is missing"):
        sequence_config({"tasks": TASKS})


def test_the_builtin_sequence_has_five_tasks():
    assert len(config(tasks="builtin").tasks) == 5


def test_a_folder_in_the_layout_of_o_lora(tmp_path):
    for name in ORDERS["o_lora_1"]:
        (tmp_path / "TC" / name).mkdir(parents=True)
        for split in ("train", "dev", "test"):
            content = {"Definition": ["Which?"], "Instances": [{"input": f"{split} text", "output": "yes"}]}
            (tmp_path / "TC" / name / f"{split}.json").write_text(json.dumps(content))
    found = config(tasks={"folder": str(tmp_path), "order": "o_lora_1"})
    assert [task.name for task in found.tasks] == list(ORDERS["o_lora_1"])
    ends = {(task.data[0][-10:], task.evaluation[0][-9:]) for task in found.tasks}
    assert ends == {("train.json", "test.json")}
    with pytest.raises(ConfigError, match="has no task MNLI"):
        config(tasks={"folder": str(tmp_path), "order": "o_lora_4"})


def test_a_folder_of_super_naturalinstructions(tmp_path):
    content = {"Definition": ["Do it."], "Instances": [{"id": "x", "input": "text", "output": ["one", "two"]}]}
    for name in ("task002_quoref", "task181_outcome"):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = config(tasks={"folder": str(tmp_path), "order": ["task181", "task002"]})
    assert [task.name for task in found.tasks] == ["task181", "task002"]


def test_the_published_orders_name_each_task_once():
    for names in ORDERS.values():
        assert len(set(names)) == len(names) in (4, 15)
    assert set(ORDERS["o_lora_4"]) == set(ORDERS["o_lora_5"]) == set(ORDERS["o_lora_6"])
    assert set(ORDERS["sapt_1"]) == set(ORDERS["sapt_2"])
