"""How a model is loaded that is to be measured."""

from dualselect.evaluation.local_model import LocalModel


def test_a_model_of_no_run_is_loaded_as_the_runs_it_stands_beside():
    settings = {"dtype": "bfloat16", "load_in_4bit": True, "rho": 0.5, "model_name_or_path": "other"}
    start = LocalModel("start", "start").loaded_as(settings)
    assert start.settings == {"dtype": "bfloat16", "load_in_4bit": True}
    assert start.base == "start"
    run = LocalModel("run", "base", settings={"dtype": "float32"})
    assert run.loaded_as(settings) == run
