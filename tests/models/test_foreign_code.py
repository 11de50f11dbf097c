"""Code that comes with a model runs when the caller says so, and never because a file that was found says so."""

import json

import pytest
import yaml
from foreign_code_for_tests import model_with_code, tokenizer_with_code
from models_for_tests import tiny_model
from peft import LoraConfig, get_peft_model
from tokenizers_for_tests import chatml_tokenizer
from transformers import dynamic_module_utils

from dualselect.cli.main import main
from dualselect.errors import JudgeError, ModelError
from dualselect.judges import JudgeSettings, load_judge
from dualselect.models import load_model


FLAG = "--trust_remote_code"


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """Where the code writes; and a question on the terminal fails, since nobody answers it."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "the-code-ran"


@pytest.fixture
def run(tmp_path, marker):
    """Somebody's run, whose config.yaml trusts the code of its model."""
    base = model_with_code(tmp_path / "base", marker)
    folder = tmp_path / "run"
    model = tiny_model("llama", len(chatml_tokenizer()))
    model.name_or_path = str(base)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")).save_pretrained(
        folder / "adapter"
    )
    settings = {
        "task_data": ["builtin:task:8"],
        "reference_data": ["builtin:refusal:8"],
        "model_name_or_path": str(base),
        "use_cpu": True,
        "trust_remote_code": True,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | {"dualselect_run": {"seeds": {"seed": 0}}}))
    return folder


def commands(run, other):
    config = ["--config", str(run / "config.yaml")]
    into, suite = ["--output_dir", str(other)], ["--suite", "builtin:2"]
    return {
        "evaluate": ["evaluate", "--model", str(run), *suite],
        "evaluate its adapter": ["evaluate", "--model", str(run / "adapter"), *suite, "--output", f"{other}.json"],
        "repeat": ["train", *config, *into],
        "audit": ["audit", *config, *into],
        "resume": ["train", *config, "--resume"],
        "diagnose": ["diagnose", *config, *into, "--probe_data", "builtin:refusal[504:518]"],
    }


@pytest.mark.parametrize("command", ["evaluate", "evaluate its adapter", "repeat", "resume", "audit", "diagnose"])
def test_the_config_of_a_run_does_not_trust_its_code(run, tmp_path, marker, capsys, command):
    assert main(commands(run, tmp_path / "other")[command]) != 0
    told = capsys.readouterr().err
    assert FLAG in told
    assert str(tmp_path / "base") in told
    assert not marker.exists()
    assert not (tmp_path / "other").exists()


def test_the_flag_on_the_command_line_runs_it(run, marker):
    command = ["evaluate", "--model", str(run), "--suite", "builtin:1", "--max_new_tokens", "2", FLAG]
    assert main(command) == 0
    assert marker.exists()


def test_a_config_without_trust_is_told_the_flag(run, tmp_path, marker, capsys):
    text = (run / "config.yaml").read_text().replace("trust_remote_code: true\n", "")
    (run / "config.yaml").write_text(text)
    for name in ("evaluate", "evaluate its adapter", "repeat", "audit"):
        assert main(commands(run, tmp_path / "other")[name]) != 0
        assert FLAG in capsys.readouterr().err
    assert not marker.exists()


def test_an_adapter_that_points_at_a_model_with_code(tmp_path, marker, capsys):
    base = model_with_code(tmp_path / "base", marker)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    facts = {"peft_type": "LORA", "base_model_name_or_path": str(base), "task_type": "CAUSAL_LM"}
    (adapter / "adapter_config.json").write_text(json.dumps(facts))
    output = str(tmp_path / "out.json")
    assert main(["evaluate", "--model", str(adapter), "--suite", "builtin:1", "--output", output]) != 0
    told = capsys.readouterr().err
    assert f"{base} comes with code of its own" in told
    assert FLAG in told
    assert not marker.exists()


def test_tokenizers_with_code_are_refused_without_a_question(tmp_path, marker, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    source = tokenizer_with_code(tmp_path / "tokenizer", marker)
    tiny_model("llama", 300).save_pretrained(source)
    with pytest.raises(ModelError, match=f"comes with code of its own.*{FLAG}"):
        load_model(source)
    model = tmp_path / "model"
    tiny_model("llama", len(chatml_tokenizer())).save_pretrained(model)
    chatml_tokenizer().save_pretrained(model)
    data = ["--task_data", "builtin:task:8", "--reference_data", "builtin:refusal:8", "--use_cpu"]
    command = ["train", *data, "--model_name_or_path", str(model), "--output_dir", str(tmp_path / "run")]
    assert main([*command, "--chat_template_path", str(source)]) != 0
    assert "chat_template_path" in capsys.readouterr().err
    assert not marker.exists()


def test_a_judge_never_runs_code(tmp_path, marker, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    folder = model_with_code(tmp_path / "judge", marker, architecture="MarkedForSequenceClassification")
    with pytest.raises(JudgeError, match="code of a judge is never run"):
        load_judge(f"classifier:{folder}", JudgeSettings(device="cpu"))
    assert not marker.exists()


def test_attention_from_the_hub_is_code_too(tmp_path):
    with pytest.raises(ModelError, match=f"attn_implementation somebody/kernel.*{FLAG}"):
        load_model(tmp_path, attn_implementation="somebody/kernel")
