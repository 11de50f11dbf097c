"""What is taken for the same audit, what is refused as another one, and what is deleted."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from small_audits_for_tests import LORA, audited, config, harmless, model, references, task_rows
from tokenizers_for_tests import chatml_tokenizer

from dualselect import auditing, selection
from dualselect.auditing import AuditSettings, TaskRows, audit_into
from dualselect.auditing.auditing import UNUSED_SETTINGS
from dualselect.errors import ConfigError, DataError, ModelError
from dualselect.training import preparation
from dualselect.training import references as references_module


def test_a_finished_audit_is_not_done_again_and_another_one_is_refused(whole, monkeypatch):
    _, summary, folder = whole
    monkeypatch.setattr("dualselect.auditing.auditing.score_rows", None)
    left = folder / ".scores.jsonl"
    left.write_text("of an audit that was killed at its very end", "utf-8")
    assert audited(folder, all_scores=True)[1] == summary
    assert not left.exists()
    with pytest.raises(ConfigError, match="finished audit of different data, settings or model"):
        audited(folder, score="cosine")


def test_settings_that_an_audit_does_not_read_leave_it_the_same(whole):
    others = {
        "correction": "project_add",
        "rho": 0.7,
        "rho_mode": "relative",
        "reference_refresh": "steps",
        "reference_refresh_steps": 9,
        "task_token_budget": "0.8",
    }
    assert audited(whole[2], all_scores=True, settings=others)[1] == whole[1]


def test_every_setting_of_the_method_that_an_audit_reads_is_part_of_it():
    """What is left out of the fingerprint is read nowhere in an audit."""
    read = [*Path(auditing.__file__).parent.glob("*.py"), Path(references_module.__file__)]
    read += [*Path(selection.__file__).parent.glob("[!_]*.py"), Path(preparation.__file__)]
    text = "".join(path.read_text("utf-8") for path in read)
    assert "config.reference_contrast" in text
    assert not [name for name in UNUSED_SETTINGS if f"config.{name}" in text]


def edited(rows, column, value):
    """The same rows under the same ids, but for one column of the third."""
    return Dataset.from_list([row | {column: value} if place == 2 else row for place, row in enumerate(rows)])


def other_template():
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template += "{# another one #}"
    return tokenizer


ANSWER = [{"role": "assistant", "content": "No, I cannot."}]


@pytest.mark.parametrize(
    "changed",
    [
        {"references_given": edited(references(), "completion", ANSWER)},
        {"references_given": edited(references(), "category", "another")},
        {"references_given": references().add_column("rejected", ["Sure."] * 20)},
        {"harmless_given": edited(harmless(), "completion", ANSWER)},
        {"tokenizer": other_template()},
        {"peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], use_rslora=True)},
        {"peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], rank_pattern={"q_proj": 2})},
    ],
    ids=["text", "category", "rejected", "harmless", "tokenizer", "rslora", "rank_pattern"],
)
def test_what_changes_under_the_same_ids_is_another_audit(whole, changed):
    with pytest.raises(ConfigError, match="finished audit of different data, settings or model"):
        audited(whole[2], all_scores=True, **changed)


def test_the_scaling_of_an_own_adapter_is_part_of_the_audit(tmp_path):
    strong = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        audited(tmp_path, of=get_peft_model(model(), LORA), peft_config=None, controls=False)
        torch.manual_seed(0)
        with pytest.raises(ConfigError, match="finished audit"):
            audited(tmp_path, of=get_peft_model(model(), strong), peft_config=None, controls=False)


def test_overwrite_starts_anew(tmp_path):
    audited(tmp_path, controls=False)
    settings = AuditSettings(score="cosine", controls=False)
    rows = TaskRows.of(Dataset.from_list(task_rows()))
    summary = audit_into(
        tmp_path,
        model(),
        chatml_tokenizer(),
        rows,
        references(),
        settings,
        config(tmp_path),
        peft_config=LORA,
        overwrite=True,
    )
    assert summary.settings["audit"]["score"] == "cosine"


def test_a_finished_audit_is_kept_when_the_one_to_replace_it_is_refused(tmp_path):
    audited(tmp_path, controls=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.startswith(".")}
    good = TaskRows.of(Dataset.from_list(task_rows()))
    unusable = TaskRows.of(Dataset.from_list([{"prompt": "word " * 300, "completion": "yes"}]))
    nowhere = LoraConfig(target_modules=["nowhere"])
    for rows, peft_config in ((unusable, LORA), (good, nowhere)):
        with pytest.raises((DataError, ModelError)):
            audit_into(
                tmp_path,
                model(),
                chatml_tokenizer(),
                rows,
                references(),
                AuditSettings(controls=False),
                config(tmp_path),
                peft_config=peft_config,
                overwrite=True,
            )
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.startswith(".")}
