"""`dualselect report`."""

import importlib.util
import json

import pytest
from audits_for_tests import made_audit
from models_for_tests import saved_model
from runs_for_tests import made_comparison, made_evaluation, made_run

from dualselect.cli.main import main
from dualselect.system.files import write_text


def test_a_run_gets_its_page(tmp_path, capsys):
    run = made_evaluation(made_run(tmp_path / "run"))
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert f"the page: {run / 'report.html'}" in capsys.readouterr().out


def test_several_runs_need_a_place_for_the_page(tmp_path, capsys):
    runs = [str(made_run(tmp_path / name)) for name in "ab"]
    assert main(["report", *runs]) == 2
    assert "say where with --output" in capsys.readouterr().err
    assert main(["report", *runs, "--output", str(tmp_path)]) == 2
    assert "is a folder: name a file" in capsys.readouterr().err
    assert main(["report", *runs, "--output", str(tmp_path / "new" / "both.html")]) == 0
    assert (tmp_path / "new" / "both.html").exists()


def test_what_cannot_be_shown_is_said(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run, comparison or audit" in capsys.readouterr().err


def test_an_audit_gets_a_page_of_its_own(tmp_path, capsys):
    folder = made_audit(tmp_path / "audit")
    assert main(["report", str(folder)]) == 0
    assert "<h1>Audit: audit</h1>" in (folder / "report.html").read_text(encoding="utf-8")
    assert main(["report", str(folder), str(made_run(tmp_path / "run")), "--output", str(tmp_path / "both.html")]) == 2
    assert "an audit has a page of its own: name it alone" in capsys.readouterr().err


def test_missing_packages_name_the_extra(tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else found(name))
    assert main(["report", str(made_run(tmp_path / "run"))]) == 2
    assert "pip install 'dualselect[report]'" in capsys.readouterr().err


def test_drift_of_directions_has_columns_a_figure_and_a_final_value(tmp_path):
    run = made_run(tmp_path / "run", rows=200)
    assert main(["report", str(run)]) == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    for column in ("task direction", "reference direction", "previous references"):
        assert f"<th>{column} <small>" in text
    assert text.count('<td class="number">0.870</td>') == 3  # of the refresh at step 13
    assert "Drift: cosine of the current task direction" in text
    assert "recomputed at the end of the run: cosine 0.875." in text
    log = run / "selection.jsonl"
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    old = [{name: it for name, it in line.items() if not name.endswith("_cosine")} for line in lines]
    write_text(log, "".join(json.dumps(line) + "\n" for line in old if line["event"] != "end"))
    assert main(["report", str(run)]) == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "Drift:" not in text
    assert "cosine to the previous" not in text


@pytest.mark.parametrize("parts", [("selection",), ("metrics",), ("selection", "metrics"), ("evaluation",)])
def test_a_run_with_a_part_missing_has_a_page_all_the_same(tmp_path, parts):
    run = made_evaluation(made_run(tmp_path / "run"))
    for part in parts:
        if part == "evaluation":
            (run / "evaluation" / "builtin.json").unlink()
        else:
            (run / f"{part}.jsonl").unlink()
    assert main(["report", str(run)]) == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert ("This run has no evaluation yet" in text) == ("evaluation" in parts)
    assert ("<h2>Selection" in text) == ("selection" not in parts)


def test_a_comparison_beside_a_run(tmp_path):
    comparison, run = made_comparison(tmp_path / "compared"), made_evaluation(made_run(tmp_path / "run"))
    assert main(["report", str(comparison)]) == 0
    assert main(["report", str(comparison), str(run), "--output", str(tmp_path / "both.html")]) == 0
    alone, both = (file.read_text(encoding="utf-8") for file in (comparison / "report.html", tmp_path / "both.html"))
    for page in (alone, both):
        assert "compared: comparison of methods" in page
        assert "<b>dualselect failed:</b> seed 2: no memory was left" in page
        assert "Safety against utility" in page
        assert "Δ: paired difference to sft" in page
    assert "<script>" not in alone
    assert "This run has no evaluation yet" not in alone
    assert "<h2>Selection" in both


def test_a_real_run_and_a_real_evaluation(tmp_path, capsys):
    saved_model(tmp_path / "model")
    for kind in ("task", "safe"):
        rows = [{"id": f"{kind}{n}", "prompt": f"{kind} question {n}?", "completion": "Yes."} for n in range(12)]
        write_text(tmp_path / f"{kind}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    train = (
        f"train --model_name_or_path {tmp_path}/model --task_data {tmp_path}/task.jsonl --use_cpu --max_steps 4 "
        f"--reference_data {tmp_path}/safe.jsonl --output_dir {run} --per_device_train_batch_size 4 "
        "--selection_warmup_steps 2 --learning_rate 1e-2 --max_length 256"
    )
    assert main(train.split()) == 0
    assert main(["evaluate", "--model", str(run), "--suite", "builtin:2", "--max_new_tokens", "4"]) == 0
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "4 optimizer steps, 2 of them warm-up; 2 reference refreshes" in page
    assert '"task question 3?"' in page
    assert '"safe question 3?"' in page
    assert "refusal rate" in page
    assert "texts are missing" not in page
