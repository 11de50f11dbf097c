"""A checkpoint is used when every file is as it was written, and skipped by name otherwise."""

import json
import logging
import shutil

import pytest
from rows_for_tests import adapter_of, small_trainer, trained

from dualselect.errors import ResumeError
from dualselect.training.checkpoints import MANIFEST, check_logs, damage_of, find_checkpoints


SETTINGS = {"dropout": 0.1, "save_strategy": "steps", "save_steps": 2, "max_steps": 6}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return trained(folder, **SETTINGS), folder


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run[1], tmp_path / "run")
    return tmp_path / "run"


def flip(path, older, other):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flip": flip,
    "truncate": lambda path, older, other: path.write_bytes(path.read_bytes()[:-1]),
    "zero": lambda path, older, other: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path, older, other: path.write_bytes(b""),
    "delete": lambda path, older, other: path.unlink(),
    "older": lambda path, older, other: shutil.copy(older, path),
    "other": lambda path, older, other: shutil.copy(other, path),
}


def test_every_damage_of_every_file_is_found_and_named(copy):
    checkpoint, older = copy / "checkpoint-6", copy / "checkpoint-4"
    files = sorted(path for path in checkpoint.iterdir() if path.is_file())
    names = {path.name for path in files}
    assert {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", MANIFEST} <= names
    assert {"trainer_state.json", "dualselect_state.safetensors", "tokenizer.json"} <= names
    for path in files:
        content = path.read_bytes()
        other = next(file for file in files if file != path)
        for kind, damage in DAMAGES.items():
            damage(path, older / path.name, other)
            if path.exists() and path.read_bytes() == content:  # the older file is the same one
                continue
            reason = damage_of(checkpoint)
            assert path.name in str(reason), (kind, path.name, reason)
            assert find_checkpoints(copy).newest == older
            path.write_bytes(content)
    assert damage_of(checkpoint) is None


def test_a_damaged_checkpoint_is_passed_over_and_the_result_is_the_same(run, copy, caplog):
    damaged = copy / "checkpoint-6" / "adapter_model.safetensors"
    shutil.copy(copy / "checkpoint-2" / damaged.name, damaged)
    (copy / "checkpoint-4" / MANIFEST).unlink()
    trainer = small_trainer(copy, **SETTINGS)
    with caplog.at_level(logging.WARNING):
        trainer.train(resume_from_checkpoint=True)
    assert "checkpoint-6 is skipped: the content of adapter_model.safetensors has changed" in caplog.text
    assert f"checkpoint-4 is skipped: {MANIFEST} is missing" in caplog.text
    assert all(value.equal(adapter_of(trainer)[name]) for name, value in adapter_of(run[0]).items())
    assert trainer.selection_log.path.read_bytes() == run[0].selection_log.path.read_bytes()
    assert damage_of(copy / "checkpoint-6") is None


def test_a_damaged_checkpoint_that_was_asked_for_is_refused_by_name(copy):
    (copy / "checkpoint-6" / "optimizer.pt").unlink()
    trainer = small_trainer(copy, **SETTINGS)
    with pytest.raises(ResumeError, match=r"checkpoint-6 cannot be used: optimizer.pt is missing.*checkpoint-4"):
        trainer.train(resume_from_checkpoint=str(copy / "checkpoint-6"))
    for step in (2, 4):
        (copy / f"checkpoint-{step}" / "scheduler.pt").write_bytes(b"")
    with pytest.raises(ResumeError, match=r"checkpoint-6: optimizer.pt is missing; checkpoint-4: scheduler.pt has 0"):
        trainer.train(resume_from_checkpoint=True)


def test_a_checkpoint_of_another_step_is_refused(copy):
    shutil.rmtree(copy / "checkpoint-6")
    (copy / "checkpoint-4").rename(copy / "checkpoint-6")
    assert damage_of(copy / "checkpoint-6") == f"{MANIFEST} is for step 4"


def test_save_only_model_is_named_as_the_cause(tmp_path):
    trained(tmp_path / "run", **SETTINGS | {"save_only_model": True, "max_steps": 4})
    with pytest.raises(ResumeError, match="save_only_model: true"):
        small_trainer(tmp_path / "run", **SETTINGS).train(resume_from_checkpoint=True)


def test_older_checkpoints_go_when_the_new_one_is_whole(tmp_path):
    trained(tmp_path / "run", **SETTINGS | {"save_total_limit": 1})
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-6"]
    assert damage_of(tmp_path / "run" / "checkpoint-6") is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: text.index("\n") + 1], "ends after line 1, but"),
        (lambda text: text.replace('"event"', '"ev', 1), "is broken in line 1"),
        (lambda text: text.replace("t1", "t9"), "was changed"),
        (lambda text: "", "ends after line 0"),
    ],
    ids=["shorter", "broken", "edited", "empty"],
)
def test_a_damaged_log_is_refused_with_its_line_and_what_to_type(copy, damage, message):
    log = copy / "selection.jsonl"
    log.write_text(damage(log.read_text()))
    with pytest.raises(ResumeError, match=rf"selection.jsonl {message}.*--overwrite"):
        check_logs(copy / "checkpoint-4")
    before = log.read_bytes()
    with pytest.raises(ResumeError, match="selection.jsonl"):
        small_trainer(copy, **SETTINGS).train(resume_from_checkpoint=True)
    assert log.read_bytes() == before


def test_a_state_of_another_step_is_refused(run, copy):
    from dualselect.training.state import load_state

    trainer = run[0]
    with pytest.raises(ResumeError, match=r"is for step 4, but trainer_state.json next to it is for step 6"):
        load_state(copy / "checkpoint-4", trainer._layout, trainer._fingerprint(), step=6)
    assert json.loads((copy / "checkpoint-4" / MANIFEST).read_text())["content"]["step"] == 4
