"""`dualselect audit` as it is typed."""

import json
import re
import subprocess
import sys

import pytest
from models_for_tests import saved_model

from dualselect.cli.main import main
from dualselect.system.files import write_text


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny model, 12 task rows of which one cannot be scored, 10 references, 4 harmless rows."""
    folder = tmp_path_factory.mktemp("made")
    saved_model(folder / "model")
    task = [
        {"id": f"t{n}", "question": f"task {n}?", "answer": "The answer " * (1 + n % 3), "extra": n} for n in range(12)
    ]
    task[5]["answer"] = ""
    safe = [
        {"id": f"s{n}", "prompt": f"safe {n}?", "completion": "I cannot.", "category": f"c{n % 2}"} for n in range(10)
    ]
    calm = [{"prompt": f"calm {n}?", "completion": "Sure."} for n in range(4)]
    for name, rows in {"task": task, "safe": safe, "calm": calm}.items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_text(folder / "risky.txt", "t1\nt2\n\n")
    (folder / "latin.txt").write_bytes(b"t1\nt\xe9\n")
    write_text(folder / "data" / "rows.jsonl", (folder / "task.jsonl").read_text("utf-8"))
    return folder


def audit(made, output, *more, task="task.jsonl"):
    words = (
        f"audit --model_name_or_path {made}/model --task_data {made}/{task} --reference_data {made}/safe.jsonl "
        f"--harmless_data {made}/calm.jsonl --output_dir {output} --use_cpu --selection_warmup_steps 2 "
        "--learning_rate 1e-2 --max_length 256 --disable_tqdm true --per_device_train_batch_size 4 --report_to none"
    )
    return main([*words.split(), *map(str, more)])


@pytest.fixture(scope="module")
def first(made, tmp_path_factory):
    """An audit that finds every row in conflict, which its random model would not."""
    folder = tmp_path_factory.mktemp("first") / "audit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dualselect.selection.HarmlessScores.threshold", lambda scores, rate: -1e9)
        assert audit(made, folder, "--risky_ids", made / "risky.txt") == 0
    return folder


def test_it_leaves_rows_table_references_summary_and_page(first):
    names = {path.name for path in first.iterdir() if not path.name.startswith(".")}
    assert names == {
        "audit.jsonl", "audit.csv", "references.jsonl", "negatives.jsonl", "summary.json", "report.html"
    }  # fmt: skip
    page = (first / "report.html").read_text("utf-8")
    assert "task 3?" in page
    assert "empty response" in page
    summary = json.loads((first / "summary.json").read_text("utf-8"))
    assert summary["detection"]["risky"] == 2
    assert summary["settings"]["training"]["reference_contrast"] == "compliance"


def test_the_same_command_tells_the_same_again(made, first, capsys):
    before = (first / "audit.jsonl").stat().st_mtime_ns
    assert audit(made, first, "--risky_ids", made / "risky.txt") == 0
    told = capsys.readouterr().out
    assert "this audit is already finished" in told
    assert "12 rows, 11 scored" in told
    assert "1 not scored: empty response" in told
    assert "recommended settings for training: --task_token_budget auto --reference_contrast compliance" in told
    assert "by published; training applies it in each step" in told
    assert "detection of 2 rows labeled risky among 9 others" in told
    assert (first / "audit.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(("named", "status"), [("seed: 42", 0), ("reference_contrast: none", 2)])
def test_the_contrast_is_compliance_unless_a_config_names_another(made, first, tmp_path, capsys, named, status):
    write_text(tmp_path / "config.yaml", f"{named}\n")
    options = ("--risky_ids", made / "risky.txt", "--config", tmp_path / "config.yaml")
    assert audit(made, first, *options) == status
    told = capsys.readouterr()
    assert ("already finished" in told.out, "of different data, settings" in told.err) == (status == 0, status == 2)


@pytest.mark.parametrize(("share", "status"), [("0", 3), ("1", 0)])
def test_the_status_says_whether_more_rows_are_in_conflict(made, first, capsys, share, status):
    conflict = json.loads((first / "summary.json").read_text("utf-8"))["conflict"]["value"]
    assert conflict > 0
    assert audit(made, first, "--risky_ids", made / "risky.txt", "--fail_above", share) == status
    assert ("more than --fail_above" in capsys.readouterr().out) == (status == 3)


def test_the_status_says_when_nothing_was_scored(made, tmp_path, capsys):
    task = [{"question": f"task {n}?", "answer": "" if n else "The answer"} for n in range(12)]
    write_text(tmp_path / "task.jsonl", "".join(json.dumps(row) + "\n" for row in task))
    options = ("--task_data", tmp_path / "task.jsonl", "--sample", "1", "--fail_above", "1")
    assert audit(made, tmp_path / "out", *options) == 3
    told = capsys.readouterr().out
    assert "12 rows, 1 sampled, 0 scored" in told
    assert "no row was scored, so the share in conflict is unknown" in told


def test_a_cleaned_copy_has_the_rows_as_they_were(made, first, tmp_path, capsys):
    lines = [json.loads(line) for line in (first / "audit.jsonl").read_text("utf-8").splitlines()]
    given = (made / "task.jsonl").read_text("utf-8").splitlines()
    for budget, keeps in (
        ("auto", lambda line: not line["conflict"]),
        ("0.5", lambda line: line["kept"]["0.5"]),
    ):
        cleaned = tmp_path / f"{budget}.jsonl"
        options = ("--risky_ids", made / "risky.txt", "--cleaned", cleaned, "--budget", budget)
        assert audit(made, first, *options) == 0
        wanted = [row for row, line in zip(given, lines, strict=True) if not line["unscored"] and keeps(line)]
        assert len(wanted) < 11
        assert wanted or budget == "auto"  # a random model may see a conflict everywhere
        assert list(map(json.loads, cleaned.read_text("utf-8").splitlines())) == list(map(json.loads, wanted))
        assert "1 of them since they could not be scored" in capsys.readouterr().out


def test_a_cleaned_copy_is_kept_by_the_same_command_and_by_no_other(made, first, tmp_path, capsys):
    cleaned = tmp_path / "clean.jsonl"
    options = ("--risky_ids", made / "risky.txt", "--budget", "0.9", "--cleaned", cleaned)
    assert [audit(made, first, *options) for _ in range(2)] == [0, 0]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(cleaned))]
    assert len(told) == 2
    assert told[0] == told[1]
    whole = cleaned.read_bytes()
    for other in (whole[:-1], whole + b"\n", whole.replace(b"t1", b"t2"), b""):
        cleaned.write_bytes(other)
        assert audit(made, first, *options) == 2
        assert "already exists with different content" in capsys.readouterr().err
        assert cleaned.read_bytes() == other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cleaned", "TASK"], "is one of the audited files, which are never changed"),
        (["--cleaned", "MADE/safe.jsonl"], "safe.jsonl already exists: name another file"),
        (["--task_data", "MADE/data", "--cleaned", "MADE/data/new.jsonl"], "which is task data"),
        (["--task_data", "MADE/data[:9]", "--cleaned", "MADE/data/in/new.jsonl"], "which is task data"),
        (["--cleaned", "MADE/copy.csv"], "written as JSONL"),
        (["--cleaned", "MADE/new.jsonl", "--budget", "0.42"], "--budget 0.42 is not known"),
        (["--cleaned", "MADE/new.jsonl", "--sample", "3"], "needs every row scored"),
        (["--budget", "nonsense"], "--cleaned is missing"),
        (["--score", "best"], "score is 'best'"),
        (["--fail_above", "7"], "a share of the rows"),
        (["--fail_abov", "7"], "fail_abov is not a setting"),
        (["--sample", "many"], "dualselect audit --help"),
        (["--risky_ids", "MADE/nowhere.txt"], "No such file"),
        (["--risky_ids", "MADE/latin.txt"], "latin.txt is not UTF-8 text"),
        (["--reference_data", "MADE/nowhere.jsonl"], "file not found"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_the_work(made, tmp_path, capsys, options, message):
    link = tmp_path / "link.jsonl"
    link.symlink_to(made / "task.jsonl")
    words = [word.replace("TASK", str(link)).replace("MADE", str(made)) for word in options]
    before = (made / "task.jsonl").read_bytes()
    assert audit(made, tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert (made / "task.jsonl").read_bytes() == before
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.slow  # the process of its own scores all harmless rows
def test_all_that_takes_long_has_a_bar(made, tmp_path):
    words = (
        f"audit --model_name_or_path {made}/model --task_data {made}/task.jsonl --output_dir {tmp_path}/out --use_cpu "
        "--selection_warmup_steps 1 --max_length 512 --per_device_train_batch_size 4 --sample 4 --report_to none "
        "--reference_data builtin:refusal:40"
    )
    # in a process of its own, whose libraries nobody silenced before
    command = [sys.executable, "-m", "dualselect.cli.main", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    bars = done.stderr.replace("\r", "\n")
    for bar, total in {
        "Reading the data": 12,
        "Reference losses at the start": 40,
        "Warm-up": 1,
        "Scoring references": 40,
        "Reference directions": 40,
        "Harmless direction": 16,
        "Calibrating on safe responses": 32,
        "Calibrating on contrasts": 32,
        "Calibrating on harmless rows": 16,
        "Scoring rows": 4,
    }.items():
        assert re.search(rf"{bar}: .*/{total} \[", bars), bar


def test_all_settings_of_a_training_can_be_listed(capsys):
    assert main(["audit", "--help-all"]) == 0
    assert "All other settings of TRL and transformers:" in capsys.readouterr().out


def test_help_lists_every_score(capsys):
    from dualselect.auditing.scores import SCORES

    assert main(["audit", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in SCORES)
    assert "--fail_above" in told


@pytest.mark.parametrize("name", ["adapter", "metrics.jsonl"])
def test_the_folder_of_a_run_is_left_as_it_is(made, tmp_path, capsys, name):
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_text("")
    assert audit(made, run) == 2
    assert "is the folder of a run" in capsys.readouterr().err
    assert [file.name for file in run.iterdir()] == [name]
