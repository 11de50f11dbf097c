"""The demonstration, end to end on a tiny random model: its numbers mean nothing, its stages and files do."""

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest
from models_for_tests import saved_model
from transformers.utils import logging as transformers_logging

from dualselect.cli import demo as verb
from dualselect.demo import MEASURES, MODELS, DemoSettings, measured_rows, run_demo
from dualselect.errors import ConfigError, ResumeError
from dualselect.evaluation.builtin_suites import validation_ids
from dualselect.report.demo_page import write_demo_page


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    saved_model(folder)
    return DemoSettings(alignment_steps=2, task_rows=40, references=6, prompts=3, response_tokens=4, model=str(folder))


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    told = []
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # as the verb does
    try:
        with redirect_stdout(StringIO()) as printed, redirect_stderr(StringIO()) as bars:
            measures = run_demo(folder, settings, told.append)
    finally:
        transformers_logging.set_verbosity(verbosity)
    return folder, measures, told, printed.getvalue(), bars.getvalue()


def test_every_stage_leaves_its_files(finished):
    folder, measures, told, *_ = finished
    assert [line[:5] for line in told] == [f"[{number}/6]" for number in range(1, 7)]
    assert (folder / "aligned" / "model.safetensors").exists()
    for name in ("plain", "oracle", "dualselect"):
        assert (folder / name / "adapter" / "adapter_model.safetensors").exists()
    for name in MODELS:
        evaluation = json.loads((folder / "evaluation" / f"{name}.json").read_text())
        for kind in MEASURES:
            verdicts = [row["verdict"] for row in evaluation["responses"] if row["kind"] == kind]
            assert (sum(verdicts), len(verdicts)) == (measures[name][kind]["successes"], 3)
    assert "aligned start" in write_demo_page(folder, MODELS, MEASURES).read_text()


def test_stages_show_bars_and_print_nothing_else(finished):
    *_, printed, bars = finished
    assert printed == ""
    assert "'loss'" not in bars
    assert all(name in bars for name in ("Scoring references", *MODELS.values()))


def test_both_fine_tunings_see_the_same_rows_in_the_same_steps(finished):
    folder, *_ = finished
    plain, dual = (
        [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("plain", "dualselect")
    )
    # in the first two steps, the warm-up, nothing but other rows, another order or another start could differ
    assert plain[0]["step"] == dual[0]["step"] == 2
    assert plain[0]["loss"] == pytest.approx(dual[0]["loss"], abs=1e-5)
    assert plain[-1]["step"] == dual[-1]["step"]
    assert plain[-1]["epoch"] == dual[-1]["epoch"]


def test_a_second_call_keeps_what_is_finished(finished, settings):
    folder, measures, *_ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "settings.json"}
    told = []
    assert run_demo(folder, settings, told.append) == measures
    assert sum("already done" in line for line in told) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_stage_that_was_cut_off_is_done_again(finished, settings, tmp_path):
    folder, measures, *_ = finished
    for name in ("aligned", "plain"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "settings.json").write_text((folder / "settings.json").read_text())
    (tmp_path / ".dualselect.part" / "adapter").mkdir(parents=True)
    (tmp_path / ".dualselect.part" / "selection.jsonl").write_text('{"half a li')
    assert run_demo(tmp_path, settings, lambda _: None) == measures
    assert not (tmp_path / ".dualselect.part").exists()
    assert (tmp_path / "dualselect" / "selection.jsonl").read_text().startswith('{"event": "filter", "step": 1')


def test_other_settings_are_refused(finished, settings):
    folder, *_ = finished
    with pytest.raises(ResumeError, match="different settings.*--output_dir"):
        run_demo(folder, DemoSettings(seed=settings.seed + 1), lambda _: None)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_what_is_measured_was_not_tuned_on(seed):
    for kind in MEASURES:
        rows = measured_rows(kind, DemoSettings(seed=seed))
        assert len(rows) == DemoSettings().prompts >= 40
        assert not {row["id"] for row in rows} & validation_ids()
        assert {row["id"].split("-")[1] for row in rows} == {"test"}


def test_the_table_shows_rates_intervals_and_silence():
    rate = {"successes": 1, "count": 4, "low": 0.046, "high": 0.699, "empty": 0}
    measures = {name: dict.fromkeys(MEASURES, rate) for name in MODELS}
    measures["plain"] = dict.fromkeys(MEASURES, rate | {"empty": 2})
    lines = verb.table(measures, MODELS, MEASURES).splitlines()
    assert lines[1].startswith("aligned start")
    assert lines[1].count("25% [5, 70]") == 3
    assert "there is little safety to keep: 1 of 4 harmful prompts refused by the start model" in lines
    assert [line for line in lines if "empty" in line] == [
        "plain fine-tuning: 6 responses are empty; an empty response is neither refusal nor answer."
    ]


def test_missing_page_packages_are_named_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(verb, "PAGE_PACKAGES", ("jinja2", "no_such_package"))
    with pytest.raises(ConfigError, match=r"no_such_package.*dualselect\[report\]"):
        verb.run(["--output_dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("variables", "shown"), [({"CI": "true", "DISPLAY": ":0"}, False), ({}, False)])
def test_no_browser_without_a_person(monkeypatch, variables, shown):
    for name in ("CI", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert verb.can_show_a_page() is shown
