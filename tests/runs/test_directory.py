"""The run directory: what it holds, what may be done with it, and that nothing else in the folder is touched."""

import json

import pytest

from dualselect.errors import ConfigError, ResumeError
from dualselect.runs.directory import RunDirectory
from dualselect.training.checkpoints import STATE_FILE, write_manifest


def checkpoint(directory, step, *, complete=True):
    folder = directory.path / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    if complete:
        for name in ("trainer_state.json", STATE_FILE):
            (folder / name).write_text(json.dumps({"global_step": step}))
        write_manifest(folder, step)
    return folder


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def test_an_empty_folder_and_one_with_other_files_are_unused(run):
    run.check_unused()
    run.path.mkdir()
    (run.path / "notes.txt").write_text("mine")
    run.check_unused()
    assert run.parts() == []


@pytest.mark.parametrize("part", ["config.yaml", "selection.jsonl", "metrics.jsonl", "checkpoint-5"])
def test_any_part_of_an_interrupted_run_is_in_use(run, part):
    folder = run.path / part
    folder.mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"interrupted run \({part}\).*--resume.*--overwrite.*--output_dir"):
        run.check_unused()


def test_a_finished_run_offers_no_resume(run):
    run.adapter.mkdir(parents=True)
    with pytest.raises(ConfigError, match="finished run") as refused:
        run.check_unused()
    assert "--resume" not in str(refused.value)
    with pytest.raises(ResumeError, match="is finished; its adapter is in"):
        run.checkpoint_to_resume()


def test_clear_deletes_the_run_and_nothing_else(run):
    checkpoint(run, 5)
    run.adapter.mkdir()
    run.config.write_text("a: 1")
    (run.path / "notes.txt").write_text("mine")
    (run.path / "checkpoint-final").mkdir()
    run.clear()
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoint-final", "notes.txt"]


def test_the_newest_complete_checkpoint_is_by_number_not_by_name(run):
    for step in (5, 10, 100):
        checkpoint(run, step)
    cut = checkpoint(run, 200, complete=False)
    half = checkpoint(run, 300)
    (half / "trainer_state.json").write_text('{"global_st')
    found = run.checkpoint_to_resume()
    assert found.newest == run.path / "checkpoint-100"
    assert [folder for folder, _ in found.damaged] == [half, cut]


def test_without_a_complete_checkpoint_the_cut_off_ones_are_named(run):
    checkpoint(run, 5, complete=False)
    with pytest.raises(
        ResumeError,
        match=r"\(checkpoint-5: dualselect_manifest.json is missing.*--overwrite",
    ):
        run.checkpoint_to_resume()


def test_the_writing_check_leaves_nothing(run, tmp_path):
    deep = RunDirectory(tmp_path / "a" / "b" / "c")
    deep.check_writable()
    assert list(tmp_path.iterdir()) == []
    run.path.mkdir()
    run.check_writable()
    assert list(run.path.iterdir()) == []


def test_a_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"output_dir .*file/run cannot be written: .*--output_dir"):
        RunDirectory(tmp_path / "file" / "run").check_writable()


def test_the_adapter_appears_whole_or_not_at_all(run):
    run.path.mkdir()

    def save(folder, *, fail):
        from pathlib import Path

        Path(folder).mkdir()
        for name in ("adapter_model.safetensors", "training_args.bin"):
            (Path(folder) / name).write_bytes(b"numbers")
        if fail:
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        run.save_adapter(lambda folder: save(folder, fail=True))
    assert list(run.path.iterdir()) == []
    run.save_adapter(lambda folder: save(folder, fail=False))
    assert [path.name for path in run.adapter.iterdir()] == ["adapter_model.safetensors"]
    assert list(run.path.iterdir()) == [run.adapter]
