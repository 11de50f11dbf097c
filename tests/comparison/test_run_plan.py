"""Which runs stand in the way of another plan in the same folder."""

import pytest

from dualselect.comparison import read_comparison
from dualselect.comparison.input_hashes import InputHashes, read_rows
from dualselect.comparison.run_plan import PLAN_FILE, TEST, VALIDATION, RunPlan, RunPlans
from dualselect.errors import ConfigError, DataError
from dualselect.system.files import write_json


@pytest.fixture
def plan(tmp_path):
    """Makes the plan of one folder with some settings, of some rows."""

    def make(input_hashes="rows", **settings):
        training = {"name": "sft", "settings": settings, "input_hashes": {"task_data": input_hashes}}
        return RunPlan("sft, seed 0", str(tmp_path / "runs" / "sft" / "seed-0"), training, {})

    return make


@pytest.fixture
def begun(plan):
    """A run that was begun, and came to no adapter."""
    run = plan(learning_rate=1.0)
    run.path.mkdir(parents=True)
    write_json(run.path / PLAN_FILE, run.training)
    return run


def test_a_run_that_came_to_nothing_stands_in_no_ones_way(plan, begun):
    plan(learning_rate=0.1).check_same()
    plan(learning_rate=1.0, input_hashes="others").check_same()


def test_a_trained_run_is_refused_by_what_differs(plan, begun):
    (begun.path / "adapter").mkdir()
    plan(learning_rate=1.0).check_same()
    with pytest.raises(ConfigError, match=r"other settings \(learning_rate was 1.0, now 0.1\)"):
        plan(learning_rate=0.1).check_same()
    with pytest.raises(DataError, match="task_data changed since"):
        plan(learning_rate=1.0, input_hashes="others").check_same()


def test_accepting_an_overlap_makes_no_other_run(plan, begun):
    (begun.path / "adapter").mkdir()
    plan(learning_rate=1.0, allow_prompt_overlap=True).check_same()


def test_the_start_model_is_loaded_as_the_runs_load_theirs(comparison_file):
    for given, dtype in ({}, "auto"), ({"dtype": "bfloat16", "attn_implementation": "eager"}, "bfloat16"):
        config = read_comparison(comparison_file(**given))
        rows = read_rows(config)
        plans = RunPlans(config, InputHashes.of(config, rows, {TEST: "", VALIDATION: ""}))
        assert plans.start().evaluation["model_settings"] == {"dtype": dtype} | given
        assert "model_settings" not in plans.entry(config.entries[0], 0).evaluation


def test_the_password_of_a_judge_is_in_no_file_and_makes_no_other_evaluation(tmp_path):
    def plan(url):
        return RunPlan("start model", str(tmp_path), {}, {"judge_settings": {"base_url": url, "model": "j"}})

    plan("http://me:secret@host/v1").write_done(0)
    assert "secret" not in (tmp_path / "done.json").read_text()
    assert plan("http://me:secret@host/v1").is_done()
    assert plan("http://me:other@host/v1").is_done()
    assert not plan("http://elsewhere/v1").is_done()
