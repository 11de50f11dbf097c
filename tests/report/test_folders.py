"""What a folder is, and what is said of one that is nothing."""

import pytest
from runs_for_tests import made_comparison, made_evaluation, made_run

from dualselect.errors import DataError
from dualselect.report.folders import kind_of, read_folders
from dualselect.system.files import write_json, write_text


def test_a_folder_is_known_by_its_files(tmp_path):
    assert kind_of(made_run(tmp_path / "trained")) == "run"
    assert kind_of(made_evaluation(tmp_path / "measured")) == "run"
    assert kind_of(made_comparison(tmp_path / "compared")) == "comparison"


def test_other_folders_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "all" / "one" / "adapter").mkdir(parents=True)
    with pytest.raises(DataError, match=r"is not a run, comparison or audit.*it contains runs: .*one"):
        kind_of(tmp_path / "all")
    with pytest.raises(DataError, match="does not exist: pass the folder"):
        kind_of(tmp_path / "none")
    write_text(tmp_path / "file", "text")
    with pytest.raises(DataError, match="file is not valid JSON"):
        read_folders([tmp_path / "file"])
    run = made_run(tmp_path / "run")
    with pytest.raises(DataError, match="more than once"):
        read_folders([run, tmp_path / "all" / ".." / "run"])


def test_names_tell_runs_apart_and_evaluations_of_one_run(tmp_path):
    first = made_evaluation(made_run(tmp_path / "a" / "seed-0"))
    second = made_evaluation(made_run(tmp_path / "b" / "seed-0"))
    (second / "evaluation" / "other.json").write_bytes((second / "evaluation" / "builtin.json").read_bytes())
    runs, _ = read_folders([first, second])
    assert [run.name for run in runs] == ["a/seed-0", "b/seed-0"]
    assert [it.name for run in runs for it in run.evaluations] == [
        "a/seed-0", "b/seed-0: builtin", "b/seed-0: other",
    ]  # fmt: skip


def test_an_evaluation_without_a_run_stands_beside_runs(tmp_path):
    run = made_evaluation(made_run(tmp_path / "run"))
    start = (run / "evaluation" / "builtin.json").rename(tmp_path / "start.json")
    runs, _ = read_folders([start, run])
    assert [(it.name, [one.name for one in it.evaluations]) for it in runs] == [("start", ["start"]), ("run", [])]


def test_an_evaluation_of_another_format_is_left_out_and_named(tmp_path):
    run = made_evaluation(made_run(tmp_path / "run"))
    write_json(run / "evaluation" / "old.json", {"model": "plain"})
    write_text(run / "evaluation" / "torn.json", "{")
    [found], _ = read_folders([run])
    assert [it.name for it in found.evaluations] == ["run: builtin"]
    assert "old.json has format None" in found.left_out[0]
    assert "torn.json is not valid JSON" in found.left_out[1]


def test_last_lines_that_were_cut_off_are_left_out(tmp_path):
    run = made_run(tmp_path / "run")
    lines = len(read_folders([run])[0][0].metrics)
    for name in ("selection.jsonl", "metrics.jsonl"):
        with (run / name).open("a") as file:
            file.write('{"event": "step", "st')
    assert len(read_folders([run])[0][0].metrics) == lines
