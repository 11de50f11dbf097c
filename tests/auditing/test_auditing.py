"""A whole audit of small data by a tiny model."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from small_audits_for_tests import LORA, audited, config, harmless, model, references, task_rows, turns
from tokenizers_for_tests import chatml_tokenizer

import dualselect
from dualselect.auditing.hard_negatives import HARD_KINDS
from dualselect.auditing.measuring import CONTROL, RowMeasurer
from dualselect.auditing.output_files import read_rows
from dualselect.auditing.scores import SCORES
from dualselect.auditing.scoring import NOT_FINITE
from dualselect.auditing.text import summary_text
from dualselect.data import builtin_mix
from dualselect.errors import ConfigError, DataError, ModelError
from dualselect.system.files import write_text


def test_every_row_has_a_line_with_its_id_first(whole):
    rows, summary, folder = whole
    assert rows.column_names[0] == "id"
    assert rows["id"] == [row["id"] for row in task_rows()]
    assert sorted(rows["rank"]) == list(range(1, 23))
    assert summary.data["scored"] == 22
    header, *table = (folder / "audit.csv").read_text("utf-8").splitlines()
    assert header.startswith("id,row,kind,category,unscored,rank,score")
    assert len(table) == 22
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert names == ["audit.csv", "audit.jsonl", "negatives.jsonl", "references.jsonl", "summary.json"]
    assert not list(folder.glob(".*scores*"))


def test_the_score_ranks_and_the_budgets_keep_by_rank(whole):
    rows, summary, _ = whole
    by_rank = sorted(rows, key=lambda row: row["rank"])
    assert [row["score"] for row in by_rank] == sorted((row["score"] for row in rows), reverse=True)
    total = sum(rows["tokens"])
    for budget in (0.99, 0.9, 0.5):
        kept = [row for row in rows if row["kept"][f"{budget:g}"]]
        tokens = sum(row["tokens"] for row in kept)
        assert tokens >= budget * total
        assert tokens - max(kept, key=lambda row: row["score"])["tokens"] < budget * total
    share = sum(row["tokens"] for row in rows if not row["conflict"]) / total
    assert summary.recommended_budget["kept_share"] == pytest.approx(share)
    assert summary.recommended_budget["settings"] == {"task_token_budget": "auto", "reference_contrast": "compliance"}


def test_conflicts_are_named_worst_first(whole):
    rows, summary, folder = whole
    pool = {json.loads(line)["id"] for line in (folder / "references.jsonl").read_text("utf-8").splitlines()}
    for row in rows:
        assert row["conflict"] == (row["conflict_score"] > summary.conflict["threshold"])
        found = [it["cosine"] for it in row["conflict_references"]]
        assert len(found) <= 2  # as many as were selected: a tenth of 20
        assert found == sorted(found)
        assert max(found, default=-1) < 0
        assert {it["id"] for it in row["conflict_references"]} <= pool
        of_categories = [it["cosine"] for it in row["conflict_categories"]]
        assert of_categories == sorted(of_categories)


def test_known_risky_rows_are_looked_for_by_every_score_and_the_controls(whole):
    _, summary, _ = whole
    assert set(summary.detection["scores"]) == {*SCORES, "control_loss"}
    assert summary.detection["risky"] == 6
    for found in summary.detection["scores"].values():
        # four rows of chat and of look-alikes are too few
        assert set(found["against"]) == {"task", "lookalike", "chat", *(f"{kind} (built-in)" for kind in HARD_KINDS)}
        assert found["auroc"]["low"] <= found["auroc"]["value"] <= found["auroc"]["high"]


def test_risky_rows_that_could_not_be_scored_are_told(tmp_path):
    rows = [row for row in task_rows() if row["kind"] == "task"]
    empty = rows[0] | {"id": "empty", "completion": [{"role": "assistant", "content": " "}], "kind": "risky"}
    _, summary = audited(tmp_path, rows=[*rows, empty])
    assert "rows labeled risky among 8 others: not evaluated, no risky row was scored" in summary_text(summary)


def test_shares_by_the_rows_own_category_are_told(whole):
    told = summary_text(whole[1])
    for name, found in whole[1].categories.items():
        assert f"\n{name} " in told
        assert found["scored"] > 0
    assert "row category" in told


def test_ids_make_rows_risky_too(tmp_path):
    rows = [row | {"kind": ""} for row in task_rows()]
    named = [row["id"] for row in rows[:5]]
    _, summary = audited(tmp_path, rows=rows, risky_ids=[*named, "no such row"], controls=False)
    assert summary.detection["risky"] == 5
    assert "control_loss" not in summary.detection["scores"]
    assert "opening" not in summary.detection["scores"]  # it costs more, and was not asked for
    with pytest.raises(DataError, match="none of the 1 risky ids"):
        audited(tmp_path / "other", rows=rows, risky_ids=["no such row"])


def test_the_model_is_what_it_was(tmp_path):
    before, own = model(), model()
    audited(tmp_path / "plain", of=own)
    assert type(own) is type(before)
    assert own.forward.__func__ is type(own).forward
    assert [name for name, _ in own.named_modules()] == [name for name, _ in before.named_modules()]
    assert all(parameter.requires_grad for parameter in own.parameters())
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in before.state_dict().items())
    torch.manual_seed(0)
    adapter = get_peft_model(own, LORA).eval()
    for parameter in adapter.parameters():
        parameter.requires_grad_(False)
    state = {name: value.clone() for name, value in adapter.state_dict().items()}
    audited(tmp_path / "adapter", of=adapter, peft_config=None)
    assert all(torch.equal(value, adapter.state_dict()[name]) for name, value in state.items())
    assert not any(parameter.requires_grad for parameter in adapter.parameters())
    assert not any(module.training for module in adapter.modules())


def test_rows_that_cannot_be_scored_are_told_and_kept(tmp_path):
    rows = [
        *task_rows(),
        {"id": "empty", "prompt": "a question", "completion": " "},
        {"id": "long", "prompt": "word " * 300, "completion": "yes"},
    ]
    rows = [row if isinstance(row["prompt"], list) else row | turns(row) for row in rows]
    found, summary = audited(tmp_path, rows=rows, controls=False)
    unscored = {row["id"]: row["unscored"] for row in found if row["unscored"]}
    assert unscored == {"empty": "empty response", "long": "no response token within max_length"}
    assert summary.data["unscored"] == dict.fromkeys(unscored.values(), 1)


def test_a_row_whose_control_is_not_finite_is_told_as_any_other(tmp_path, monkeypatch):
    numbers = RowMeasurer.numbers

    def with_a_broken_control(self, *given):
        found = numbers(self, *given)
        return found | {CONTROL: np.where(np.arange(len(found[CONTROL])) == 3, np.inf, found[CONTROL])}

    monkeypatch.setattr(RowMeasurer, "numbers", with_a_broken_control)
    found, summary = audited(tmp_path)
    assert summary.data["unscored"] == {NOT_FINITE: 1}
    assert [row["id"] for row in found if row["unscored"]] == [task_rows()[3]["id"]]


def test_settings_of_the_steps_that_are_not_followed_are_told(tmp_path, caplog):
    settings = {"optim": "sgd", "lr_scheduler_type": "cosine", "warmup_steps": 7}
    with pytest.raises(DataError):
        audited(tmp_path, rows=[{"prompt": "a", "completion": ""}], settings=settings)
    told = [record.getMessage() for record in caplog.records if "ignored by an audit" in record.getMessage()]
    assert [line.split(":")[0] for line in told] == list(settings)


def test_the_first_row_has_every_column_though_it_could_not_be_scored(whole, tmp_path):
    empty = task_rows()[0] | {"id": "empty", "completion": [{"role": "assistant", "content": " "}]}
    found, _ = audited(tmp_path, rows=[empty, *task_rows()[1:]], all_scores=True)
    assert found.column_names == whole[0].column_names
    assert found[0]["unscored"] == "empty response"
    assert [found[0][name] for name in ("rank", "score", "conflict", "kept", "control_loss")] == [None] * 5
    assert None not in list(found["score"])[1:]
    assert (tmp_path / "audit.csv").read_text("utf-8").splitlines()[1].endswith("," * 17)


def test_a_sample_estimates_what_all_rows_say(whole, tmp_path):
    sampled, summary = audited(tmp_path, sample=12, all_scores=True)
    assert (len(sampled), summary.data["rows"], summary.data["sample"]) == (12, 22, True)
    of_all = {row["id"]: row for row in whole[0]}
    for row in sampled:  # the warm-up draws from all rows, so that a row's numbers are the same
        assert row["cosine"] == pytest.approx(of_all[row["id"]]["cosine"], abs=1e-4)
    budget = summary.recommended_budget
    assert budget["low"] <= budget["kept_share"] <= budget["high"]
    assert whole[1].recommended_budget["low"] is None


def test_an_adapter_and_a_config_for_another_one_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="omit peft_config"):
        audited(tmp_path, of=get_peft_model(model(), LORA), peft_config=LORA)


@pytest.mark.slow  # an audit with 200 references
def test_without_references_the_pool_is_the_built_in_one(tmp_path):
    rows = Dataset.from_list(builtin_mix(4, 0, 0, 0))
    settings = config(tmp_path, max_length=512)
    _, summary = dualselect.audit(model(), chatml_tokenizer(), rows, config=settings, peft_config=LORA)
    assert summary.references["pool"] == 200
    assert len(summary.references["categories"]) > 5


def test_columns_have_the_same_types_whatever_the_rows_hold(whole, tmp_path):
    rows, _, folder = whole
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text("utf-8").splitlines()]
    assert list(rows) == lines
    nothing = [line | {"conflict_categories": [], "conflict_references": []} for line in lines]
    write_text(tmp_path / "audit.jsonl", "".join(json.dumps(line) + "\n" for line in nothing))
    assert read_rows(tmp_path, len(lines)).features == rows.features


def test_without_a_contrast_no_training_is_recommended(tmp_path):
    _, summary = audited(tmp_path, settings={"reference_contrast": "none"}, controls=False)
    assert summary.recommended_budget["settings"] is None


def test_a_category_with_nothing_to_hold_out_is_named(tmp_path):
    names = ["single", *["many"] * 11]
    given = Dataset.from_list([row | {"category": name} for row, name in zip(references(12), names, strict=True)])
    _, summary = audited(tmp_path, references_given=given, controls=False)
    assert summary.references["without_held_out"] == ["single"]
    assert 1 <= summary.references["categories"]["many"]["held_out"] <= 5
    assert summary.references["without_direction"] == []


def test_prompts_that_stand_in_pool_and_data_are_refused_unless_few_or_allowed(tmp_path, caplog):
    both = task_rows() + list(references(2))
    with pytest.raises(DataError, match="2 of 20 references have a prompt that is also in the task data"):
        audited(tmp_path / "refused", rows=both, settings={"max_shared_references": 0.05})
    _, summary = audited(tmp_path / "few", rows=both, controls=False)
    assert summary.data["scored"] == 24
    assert "left out 2 of 20 references" in caplog.text


def test_a_harmless_row_in_the_data_is_left_out_though_a_reference_has_its_id(tmp_path, caplog):
    calm = list(harmless())
    calm[2] |= {"id": references()[0]["id"]}
    with caplog.at_level("INFO", "dualselect"):
        _, summary = audited(tmp_path, rows=[*task_rows(), calm[2]], harmless_given=Dataset.from_list(calm))
    assert summary.data["scored"] == 23
    assert "harmless conversations are also in the data" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"score": "best"}, ConfigError, "score is 'best': use one of published"),
        ({"sample": 0}, ConfigError, "sample is 0"),
        ({"peft_config": LoraConfig(target_modules=["nowhere"])}, ModelError, "lora_target_modules"),
        ({"rows": [{"prompt": "a", "completion": ""}]}, DataError, "none of the 1 rows"),
    ],
    ids=["score", "sample", "adapter", "rows"],
)
def test_what_cannot_be_audited_is_refused(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        audited(tmp_path, **options)
