"""Names from data that a terminal would act on: kinds, ids, categories, files and suites of a training and its
evaluation."""

import json

import pytest
from models_for_tests import saved_model

from dualselect.cli.main import main


HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202egnp"
ACTS = set("\x1b\x07\u202e\x9b")


@pytest.fixture
def told(tmp_path, capsys):
    """Everything that a training and an evaluation show, but for the moves of bars."""
    saved_model(tmp_path / "model")
    task, prompts = tmp_path / f"task{HOSTILE}.jsonl", tmp_path / f"prompts{HOSTILE}.jsonl"
    rows = [
        {"id": f"{HOSTILE}\n{n}", "kind": f"kind{HOSTILE}\nerror: forged", "question": f"q {n}?", "answer": str(n)}
        for n in range(8)
    ]
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts.write_text(json.dumps({"id": HOSTILE, "category": f"c{HOSTILE}", "prompt": "How?"}) + "\n")
    train = f"--model_name_or_path {tmp_path}/model --reference_data builtin:refusal:4 --output_dir {tmp_path}/run"
    sizes = "--max_steps 3 --selection_warmup_steps 1 --per_device_train_batch_size 4 --use_cpu --logging_steps 1"
    assert main(["train", *train.split(), *sizes.split(), "--task_data", str(task)]) == 0
    evaluate = ["evaluate", "--model", str(tmp_path / "run"), "--suite", f"harmful:{prompts}", "--samples", "1"]
    assert main([*evaluate, "--max_new_tokens", "2"]) == 0
    other = ["--output_dir", str(tmp_path / "other"), "--task_data", f"{task}.none"]
    assert main(["train", *train.split(), *other]) != 0
    shown = capsys.readouterr()
    return shown.out, shown.err.replace("\x1b[A", "")


def test_they_are_visible_and_do_nothing(told):
    out, error = told
    assert not (set(out) | set(error)) & ACTS
    assert "kind[U+001B][2J[U+001B]]0;owned[U+0007][U+202E]gnp error: forged" in out
    assert not [line for line in (out + error).split("\n") if line.startswith("error: forged")]
    assert "task[U+001B]" in error


def test_no_library_warning_is_among_them(told):
    assert "Warning" not in told[1]
    assert "deprecated" not in "".join(told)
