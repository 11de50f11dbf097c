"""Hashes of what a comparison's file names: what changes them, and what does not."""

import os
import shutil
from dataclasses import replace

from dualselect.comparison import read_comparison
from dualselect.comparison.input_hashes import InputHashes, model_sha256, prompts_sha256, read_rows
from dualselect.evaluation.suite import Prompt, Suite
from dualselect.judges import JudgeSettings, load_judge


def test_a_model_is_its_weights_and_tokenizer_wherever_it_lies(start_model, tmp_path):
    copied = tmp_path / "model"
    shutil.copytree(start_model, copied)
    before = model_sha256(str(start_model))
    (copied / "README.md").write_text("other words")
    (copied / "start.json").write_text("{}")
    os.utime(copied / "model.safetensors", (1, 1))
    assert model_sha256(str(copied)) == before
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        kept = (copied / name).read_bytes()
        (copied / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))  # of the same size
        assert model_sha256(str(copied)) != before, name
        (copied / name).write_bytes(kept)
    assert model_sha256(str(copied)) == before


def test_a_model_may_be_one_file_or_a_name(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF1")
    before = model_sha256(str(tmp_path / "a.gguf"))
    (tmp_path / "a.gguf").write_bytes(b"GGUF2")
    assert model_sha256(str(tmp_path / "a.gguf")) != before
    assert model_sha256("owner/name") == model_sha256("owner/other")  # the setting itself tells these apart


def test_prompts_answers_and_the_wording_of_judges_count_and_not_what_was_told():
    prompt = Prompt("a", [{"role": "user", "content": "2 + 2?"}], answer="4")
    suite = Suite("sums", "task", (prompt,))
    judge = load_judge("refusal", JudgeSettings())
    before = prompts_sha256([suite], [judge])
    assert prompts_sha256([replace(suite, notes=("dropped 3 rows",))], [judge]) == before
    for changed in (
        replace(suite, prompts=(replace(prompt, messages=[{"role": "user", "content": "2 + 3?"}]),)),
        replace(suite, prompts=(replace(prompt, answer="5"),)),
        replace(suite, prompts=(prompt, replace(prompt, id="b"))),
    ):
        assert prompts_sha256([changed], [judge]) != before
    assert prompts_sha256([suite], []) != before


def test_each_run_knows_its_own_rows(comparison_file):
    config = read_comparison(
        comparison_file(
            methods={
                "sft": {"reference_data": []},
                "safe_mix": None,
                "lisa": {"reference_data": ["builtin:refusal:3"]},
            }
        )
    )
    materials = InputHashes.of(config, read_rows(config), {})
    sft, safe_mix, lisa = (materials.of_run(config.settings | entry.settings) for entry in config.entries)
    assert sft == {name: safe_mix[name] for name in ("task_data", "model_name_or_path")}
    assert {name for name in lisa if lisa[name] != safe_mix[name]} == {"reference_data"}
