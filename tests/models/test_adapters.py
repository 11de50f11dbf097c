"""A run, its adapter or a checkpoint in place of a model: the message says what it is, and what to type works."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from models_for_tests import tiny_model
from peft import LoraConfig, get_peft_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect.cli.main import main
from dualselect.errors import ModelError
from dualselect.evaluation.local_model import find_model, load_local_model
from dualselect.models.checking import check_model
from dualselect.models.loading import load_model
from dualselect.runs.settings import LoraModelConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with an adapter and a checkpoint, as far as loading looks at it."""
    folder = tmp_path_factory.mktemp("a run") / "first"
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer), seed=3)
    model.save_pretrained(folder.parent / "start")
    tokenizer.save_pretrained(folder.parent / "start")
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, lora)
    adapted.peft_config["default"].base_model_name_or_path = str(folder.parent / "start")
    for name in ("adapter", "checkpoint-2", "checkpoint-10"):
        adapted.save_pretrained(folder / name)
    (folder / "config.yaml").write_text(f"model_name_or_path: {folder.parent / 'start'}\n")
    (folder / "selection.jsonl").touch()
    return folder


@pytest.mark.parametrize(
    ("place", "what"), [(".", "a run"), ("adapter", "an adapter of a run"), ("checkpoint-2", "an adapter of a run")]
)
def test_what_it_is_and_how_to_go_on(run, place, what):
    with pytest.raises(ModelError) as refused:
        check_model(LoraModelConfig(str(run / place)))
    told = str(refused.value)
    assert told.startswith(f"{run / place} is {what}, made for {run.parent / 'start'}, and not a model.")
    assert f"dualselect train --config {shlex.quote(str(run / 'config.yaml'))} --resume" in told
    assert f"then write --model_name_or_path {shlex.quote(str(run / place) + '-merged')}" in told


def test_what_is_to_be_typed_merges_the_adapter(run, tmp_path):
    shutil.copytree(run.parent, tmp_path / "copy")
    moved = tmp_path / "copy" / "first"
    (moved / "config.yaml").write_text(f"model_name_or_path: {tmp_path / 'copy' / 'start'}\n")
    with pytest.raises(ModelError) as refused:
        load_model(moved)
    command = next(line for line in str(refused.value).splitlines() if line.startswith("  "))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    subprocess.run(["bash", "-c", command], check=True, capture_output=True, env=environment)
    written = re.search(r"then write --model_name_or_path (.*)", str(refused.value))[1]
    merged, _ = load_model(*shlex.split(written))
    expected, _ = load_local_model(find_model(str(moved)))
    ids = torch.arange(9)[None]
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=ids).logits, expected(input_ids=ids).logits, atol=1e-5)


def test_a_run_without_an_adapter_yet(tmp_path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "selection.jsonl").touch()
    with pytest.raises(ModelError, match=r"is a run that has no adapter yet, .* --resume"):
        check_model(LoraModelConfig(str(tmp_path)))


COMPARISON = """\
model_name_or_path: {run}
task_data: [builtin:task:8]
methods: [sft]
seeds: [1]
evaluation: {{suites: [builtin:4]}}
"""


@pytest.mark.parametrize("verb", ["train", "audit", "diagnose", "compare"])
def test_every_verb_says_it_before_it_reads_any_rows(run, verb, tmp_path, capsys):
    out = ["--output_dir", str(tmp_path / "out")]
    flags = ["--model_name_or_path", str(run), "--task_data", "missing.jsonl", "--reference_data", "missing.jsonl"]
    flags += ["--probe_data", "missing.jsonl"] if verb == "diagnose" else []
    if verb == "compare":
        (tmp_path / "compare.yaml").write_text(COMPARISON.format(run=run), encoding="utf-8")
        flags = ["--config", str(tmp_path / "compare.yaml")]
    assert main([verb, *flags, *out]) != 0
    assert f"error: {run} is a run, made for" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
