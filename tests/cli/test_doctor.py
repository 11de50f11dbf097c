"""`dualselect doctor`: what it says before a training is what the training then does."""

import json

import pytest
from rows_for_tests import words
from tokenizers_for_tests import chatml_tokenizer

from dualselect.cli.main import main
from dualselect.system.lock import folder_lock


TASK = [{"id": f"t{n}", "question": f"question {n}?", "answer": f"It is {n}."} for n in range(24)]
SAFE = [{"id": f"r{n}", "prompt": f"bad thing {n}?", "completion": "I cannot help with that."} for n in range(8)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def settings(tmp_path, model_folder, monkeypatch):
    monkeypatch.setenv("DUALSELECT_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "task.jsonl", TASK)
    write(tmp_path / "safe.jsonl", SAFE)
    return {
        "--model_name_or_path": str(model_folder),
        "--task_data": f"{tmp_path}/task.jsonl",
        "--reference_data": f"{tmp_path}/safe.jsonl",
        "--output_dir": f"{tmp_path}/run",
        "--use_cpu": "true",
        "--per_device_train_batch_size": "4",
        "--selection_warmup_steps": "2",
        "--max_steps": "8",
        "--save_steps": "2",
        "--max_length": "256",
        "--harmless_drop_rate": "0.1",
    }


def contents(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_a_good_run_would_start_and_nothing_is_written(tmp_path, settings, model_folder, capsys):
    before = contents(tmp_path), contents(model_folder)
    assert main(["doctor", *words(settings)]) == 0
    assert (contents(tmp_path), contents(model_folder)) == before
    told = capsys.readouterr().out
    assert told.startswith("training would start\n")
    assert "warnings" not in told
    for line in (
        "8 optimizer steps of 4 rows (6 in an epoch), 2 of them warm-up",
        "2 reference refreshes",
        "batching does not change the per-example gradients",
        "rows with two start tokens (double BOS): 0",
        "references whose prompt is also a task prompt: 0",
        "4 checkpoints of ",
    ):
        assert line in told
    assert main(["train", *words(settings)]) == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "selection.jsonl").read_text().splitlines()]
    assert [line["event"] for line in log].count("refresh") == 2
    assert len(list((tmp_path / "run").glob("checkpoint-*"))) == 4


def test_the_supervised_tokens_are_marked(settings, capsys):
    assert main(["doctor", *words(settings)]) == 0
    lines = capsys.readouterr().out.splitlines()
    marked = [line.strip() for line in lines if line.startswith("  >> | ")]
    responses = [row["answer"] for row in TASK[:5]] + [row["completion"] for row in SAFE[:5]]
    assert [
        line.removeprefix(">> | ").removesuffix(r"<|im_end|>\n").removesuffix("<|im_end|>") for line in marked
    ] == responses
    assert any(line.startswith("  .. | question 0?") for line in lines)


def test_a_text_cannot_fake_a_mark_or_act_on_the_terminal(tmp_path, settings, capsys):
    write(tmp_path / "task.jsonl", [{"question": "one\n>> | two\x1b[2J", "answer": "three"}, *TASK])
    assert main(["doctor", *words(settings)]) == 0
    told = capsys.readouterr().out
    assert "\n  .. | >> | two[U+001B][2J" in told
    assert "\n  >> | two" not in told


SPOILED = {
    "rho": "high",
    "reference_fraction": "2",
    "task_top_k": "0",
    "neftune_noise_alpha": "5",
    "optim": "lomo",
    "eval_strategy": "epoch",
    "lora_target_modules": "foo",
    "report_to": "nowhere",
    "learning_rat": "3",
}


def test_everything_that_is_refused_is_told_at_once_in_the_words_of_train(tmp_path, settings, capsys):
    for name in SPOILED:
        assert main(["train", *words(settings, **{name: SPOILED[name]})]) == 2, name
    refused = [line.removeprefix("error: ") for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(refused) == len(SPOILED)
    (tmp_path / "task.jsonl").unlink()
    assert main(["doctor", *words(settings, **SPOILED)]) == 1
    told = capsys.readouterr().out
    assert told.startswith(f"training would be refused: {len(SPOILED) + 1} things to change\n")
    for message in refused:
        assert message in told
    assert "task.jsonl: file not found" in told
    assert "The first rows of reference_data" in told
    assert not (tmp_path / "run").exists()


def test_a_file_is_examined_key_by_key(tmp_path, settings, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("conflict_weight: high\nnonsense_key: 1\nmax_length: 1\ntask_top_k: 3\ntask_token_budget: 0.5\n")
    assert main(["doctor", "--config", str(file), *words(settings, max_length=None), "stray"]) == 1
    told = capsys.readouterr().out
    for text in (
        f"{file}: conflict_weight is 'high'",
        f"{file}: nonsense_key is not a setting",
        "max_length is 1",
        "task_top_k 3 and task_token_budget 0.5 both set",
        "'stray' belongs to no setting",
    ):
        assert text in told


def test_rows_are_counted(tmp_path, settings, capsys):
    rows = [
        {"id": "long", "question": "q?", "answer": "word " * 300},
        {"id": "lost", "question": "word " * 300, "answer": "a"},
        {"id": "blank", "question": "q?", "answer": " "},
        {"id": "shared", "question": "Bad  THING 1?", "answer": "Sure."},
    ]
    write(tmp_path / "task.jsonl", rows + TASK)
    assert main(["doctor", *words(settings)]) == 0
    told = capsys.readouterr().out
    assert "dropped 1 rows with an empty response" in told
    assert "rows without a supervised token (dropped): 1" in told
    assert "rows longer than max_length 256: 1 cut, 1 dropped" in told
    assert "references whose prompt is also a task prompt: 1" in told
    assert "- left out 1 of 8 references" in told


def test_two_start_tokens_are_a_warning(tmp_path, settings, model_folder, capsys):
    template = tmp_path / "double.jinja"
    template.write_text(chatml_tokenizer().chat_template.replace("{% for", "{{ bos_token }}{% for", 1))
    assert main(["doctor", *words(settings, chat_template_path=str(template))]) == 0
    told = capsys.readouterr().out
    assert told.startswith("training would start\n\nwarnings: 2\n")
    assert "task_data: 24 rows begin with two start tokens" in told


def test_parameters_without_a_tap_are_named_with_the_reason(settings, capsys):
    assert main(["doctor", *words(settings, use_dora="true")]) == 1
    told = capsys.readouterr().out
    assert "training would be refused: 1 thing to change" in told
    assert "not seen by the taps: base_model" in told
    assert "lora_magnitude_vector" in told
    assert main(["doctor", *words(settings, use_dora="true", gradient_engine="sequential")]) == 0


def test_layers_that_are_trained_whole(settings, capsys):
    assert main(["doctor", *words(settings, use_peft="false")]) == 0
    assert "in 4 linear layers" in capsys.readouterr().out
    assert main(["doctor", *words(settings, use_peft="false", preservation_loss="kl", rho="-1")]) == 1
    told = capsys.readouterr().out
    assert "2 things to change" in told
    assert "preservation_loss: kl compares with the model without its adapter" in told
    assert "seen by the taps: 3,584 parameters in 8 linear layers" in told  # the model that is named, with an adapter


def test_the_output_directory_is_examined(tmp_path, settings, capsys):
    run = tmp_path / "run"
    assert main(["train", *words(settings)]) == 0
    assert main(["doctor", *words(settings)]) == 1
    assert "contains a finished run" in capsys.readouterr().out
    assert main(["doctor", *words(settings, overwrite="true")]) == 0
    assert (run / "adapter").is_dir()
    assert main(["doctor", "--config", str(run / "config.yaml"), "--output_dir", str(tmp_path / "again")]) == 0
    write(tmp_path / "task.jsonl", TASK[1:])
    assert main(["doctor", "--config", str(run / "config.yaml"), "--output_dir", str(tmp_path / "again")]) == 1
    assert "--allow_changed_data" in capsys.readouterr().out
    with folder_lock(run):
        assert main(["doctor", *words(settings, overwrite="true")]) == 1
    assert f"{run} is in use by another dualselect process" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert main(["doctor", *words(settings, output_dir=f"{tmp_path}/file/run")]) == 1
    assert f"{tmp_path}/file is not a folder" in capsys.readouterr().out


def test_without_an_output_directory_the_rest_is_examined(settings, capsys):
    assert main(["doctor", *words(settings, output_dir=None)]) == 1
    told = capsys.readouterr().out
    assert "1 thing to change" in told
    assert "output_dir is missing" in told
    assert "batching does not change" in told


def test_a_missing_model_still_tells_about_the_rows(settings, capsys):
    assert main(["doctor", *words(settings, model_name_or_path="/nowhere/model", rho="-1")]) == 1
    told = capsys.readouterr().out
    assert "/nowhere/model" in told
    assert "rho is -1" in told
    assert "24 rows from" in told
    assert "not checked: model, task rows and reference pool are needed" in told


def test_too_long_a_warm_up_is_refused(settings, capsys):
    assert main(["doctor", *words(settings, selection_warmup_steps="8")]) == 1
    assert "the run has 8 optimizer steps and selection_warmup_steps is 8" in capsys.readouterr().out


def test_help(capsys):
    assert main(["doctor", "--help"]) == 0
    assert "0 training would start; 1 something would be refused" in capsys.readouterr().out
