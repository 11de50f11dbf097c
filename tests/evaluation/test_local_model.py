"""How a model is loaded that is to be measured."""

from peft import LoraConfig
from rows_for_tests import conversation_rows, safe_rows

from dualselect import DualSelectConfig, DualSelectTrainer, load_model
from dualselect.evaluation import GenerationSettings, evaluate, evaluating, read_evaluation
from dualselect.evaluation.local_model import LocalModel


def test_a_model_of_no_run_is_loaded_as_the_runs_it_stands_beside():
    settings = {"dtype": "bfloat16", "load_in_4bit": True, "rho": 0.5, "model_name_or_path": "other"}
    start = LocalModel("start", "start").loaded_as(settings)
    assert start.settings == {"dtype": "bfloat16", "load_in_4bit": True}
    assert start.base == "start"
    run = LocalModel("run", "base", settings={"dtype": "float32"})
    assert run.loaded_as(settings) == run


def test_a_model_is_loaded_as_it_is_told(model_folder, tmp_path):
    """Precision moves what is measured: the probabilities of the answers, at the least."""
    options = {"suites": ["builtin:4"], "generation": GenerationSettings(max_new_tokens=6), "progress": False}
    found = {}
    for dtype in ("float32", "bfloat16", None):
        settings = {"dtype": dtype} if dtype else None
        path = evaluate(model_folder, output=tmp_path / f"{dtype}.json", model_settings=settings, **options)
        found[dtype] = [row.value for row in read_evaluation(path).summary if row.metric == "answer_probability"]
    assert found["float32"] == found[None]
    assert found["float32"] != found["bfloat16"]


def test_the_start_model_of_a_run_is_loaded_as_the_run(run_folder, model_folder, tmp_path, monkeypatch):
    loaded, load = [], evaluating.load_local_model
    monkeypatch.setattr(
        evaluating, "load_local_model", lambda found, **how: loaded.append(found) or load(found, **how)
    )
    options = {"generation": GenerationSettings(max_new_tokens=2), "progress": False}
    evaluate(run_folder, ["builtin:2"], output=tmp_path / "e.json", start_model=str(model_folder), **options)
    assert [one.settings["dtype"] for one in loaded] == ["float32", "float32"]


def test_what_a_script_leaves_is_a_run_with_or_without_save_model(tmp_path, model_folder, caplog):
    """The README's snippet, which calls `train` alone, and one that also calls `save_model`."""
    model, tokenizer = load_model(model_folder)
    trainer = DualSelectTrainer(
        model,
        DualSelectConfig(
            str(tmp_path / "first"),
            max_steps=3,
            selection_warmup_steps=1,
            per_device_train_batch_size=2,
            save_steps=2,
            gradient_checkpointing=False,
            use_cpu=True,
            report_to="none",
        ),
        train_dataset=conversation_rows(8),
        reference_dataset=safe_rows(4),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules=["q_proj"]),
    )
    trainer.train()
    options = {"generation": GenerationSettings(max_new_tokens=2), "progress": False}
    with caplog.at_level("INFO"):
        path = evaluate(tmp_path / "first", ["builtin:1"], **options)
    assert path == tmp_path / "first" / "evaluation" / "builtin.json"
    assert "checkpoint-3 (step 3 of 3)" in caplog.text
    trainer.save_model()
    saved = evaluate(tmp_path / "first", ["builtin:1"], output=tmp_path / "saved.json", **options)
    found = [read_evaluation(file).model.fingerprint for file in (path, saved)]
    assert found[0] == found[1]
