"""A whole audit of small data by a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from models_for_tests import tiny_model
from peft import LoraConfig, get_peft_model
from tokenizers_for_tests import chatml_tokenizer

import dualselect
from dualselect import DualSelectConfig, auditing, preparation, selection
from dualselect import references as references_module
from dualselect.auditing import AuditSettings, TaskRows, audit_into
from dualselect.auditing.auditing import NOT_READ
from dualselect.auditing.finishing import read_rows
from dualselect.auditing.measuring import CONTROL, Measuring, row_tokenizer
from dualselect.auditing.negatives import HARD_KINDS, ROWS_OF_A_KIND
from dualselect.auditing.scores import SCORES
from dualselect.auditing.scoring import NOT_FINITE
from dualselect.auditing.text import summary_text
from dualselect.data import as_conversations, builtin_mix, builtin_rows, tokenize
from dualselect.errors import ConfigError, DataError, ModelError
from dualselect.files import write_text
from dualselect.report.audit_page import write_audit_page


LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)


def config(folder, **settings):
    common = {
        "reference_contrast": "compliance",
        "selection_warmup_steps": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "max_length": 256,
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
        "seed": 1,
    }
    return DualSelectConfig(str(folder), **(common | settings))


def task_rows():
    return builtin_mix(8, 6, 4, 4)


def references(count=20):
    return Dataset.from_list(
        [row | _turns({"completion": "I cannot help.", "prompt": row["id"]}) for row in builtin_rows("refusal", count)]
    )


def harmless():
    return Dataset.from_list(builtin_rows("chat", 8)[4:] + builtin_rows("lookalike", 8)[4:])


def model():
    return tiny_model("llama", len(chatml_tokenizer()))


def audited(
    folder,
    *,
    rows=None,
    of=None,
    references_given=None,
    harmless_given=None,
    tokenizer=None,
    peft_config=LORA,
    settings=None,
    **asked,
):
    return dualselect.audit(
        model() if of is None else of,
        tokenizer or chatml_tokenizer(),
        Dataset.from_list(task_rows() if rows is None else rows),
        references() if references_given is None else references_given,
        config=config(folder, **(settings or {})),
        peft_config=peft_config,
        output_dir=folder,
        harmless=harmless() if harmless_given is None else harmless_given,
        **asked,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return *audited(folder, all_scores=True), folder


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
        assert row["conflict"] == (row["cosine"] < summary.conflict["threshold"])
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


def test_hard_negatives_stand_beside_data_without_their_kinds(whole, tmp_path):
    folder = whole[2]
    negatives = [json.loads(line) for line in (folder / "negatives.jsonl").read_text("utf-8").splitlines()]
    assert {row["kind"] for row in negatives} == set(HARD_KINDS)
    known = {row["id"] for some in (references(), harmless(), task_rows()) for row in some}
    assert not {row["id"] for row in negatives} & known
    rows = task_rows() + builtin_rows("chat", ROWS_OF_A_KIND)[4:]
    _, summary = audited(tmp_path / "enough", rows=rows, controls=False)
    assert set(summary.detection["scores"]["loss"]["against"]) == {
        "task", "lookalike", "chat", "lookalike (built-in)", "refusal (built-in)"
    }  # fmt: skip
    rows = [row for row in task_rows() if row["kind"] in ("task", "risky")]
    found, summary = audited(tmp_path, rows=rows, settings={"reference_batch_size": 2})
    negatives = [json.loads(line) for line in (tmp_path / "negatives.jsonl").read_text("utf-8").splitlines()]
    assert {name: sum(row["kind"] == name for row in negatives) for name in HARD_KINDS} == dict.fromkeys(
        HARD_KINDS, ROWS_OF_A_KIND
    )
    for name, told in summary.detection["scores"].items():
        assert list(told["against"]) == ["task", *(f"{kind} (built-in)" for kind in HARD_KINDS)]
        of = {CONTROL: lambda row: row[CONTROL]}.get(name, lambda row, name=name: row["scores"][name])
        risky = [of(row) for row in found if row["risky"]]
        chats = [of(row) for row in negatives if row["kind"] == "chat"]
        above = np.mean([(one > other) + (one == other) / 2 for one in risky for other in chats])
        assert told["against"]["chat (built-in)"]["value"] == pytest.approx(above, abs=0.02)  # stored as float32


def test_data_that_are_all_risky_are_told_from_hard_negatives_alone(tmp_path):
    rows = [row for row in task_rows() if row["kind"] == "risky"]
    _, summary = audited(tmp_path, rows=rows, controls=False)
    for told in summary.detection["scores"].values():
        assert (told["auroc"], told["recall"]) == (None, {})
        assert list(told["against"]) == [f"{kind} (built-in)" for kind in HARD_KINDS]
    assert "against chat (built-in)" in summary_text(summary)
    assert "AUROC against chat (built-in)" in write_audit_page(tmp_path, tmp_path / "page.html").read_text("utf-8")


def test_a_sample_without_a_kind_has_built_in_rows_of_it(tmp_path):
    """Which kinds are drawn is not known when negatives are scored; those that are drawn speak for themselves."""
    rows = task_rows() + builtin_rows("chat", ROWS_OF_A_KIND + 8)[4:]
    _, summary = audited(tmp_path, rows=rows, sample=40, controls=False)
    drawn = {kind: found["scored"] for kind, found in summary.kinds.items() if found["scored"] and kind != "risky"}
    (against,) = {tuple(it["against"]) for it in summary.detection["scores"].values()}
    lacking = [kind for kind in HARD_KINDS if drawn.get(kind, 0) < ROWS_OF_A_KIND]
    assert set(against) == {*drawn, *(f"{kind} (built-in)" for kind in lacking)}
    assert lacking[-2:] == ["lookalike", "refusal"]
    negatives = [json.loads(line) for line in (tmp_path / "negatives.jsonl").read_text("utf-8").splitlines()]
    assert {row["kind"] for row in negatives} == set(HARD_KINDS)


def test_a_negative_that_stands_in_the_data_is_left_out(tmp_path):
    stands = builtin_rows("chat", 3, seed=1, split="test")
    rows = [row | {"kind": "talk"} for row in stands] + [row for row in task_rows() if row["kind"] == "risky"]
    audited(tmp_path, rows=rows, controls=False)
    negatives = [json.loads(line)["id"] for line in (tmp_path / "negatives.jsonl").read_text("utf-8").splitlines()]
    assert not {row["id"] for row in stands} & set(negatives)
    assert sum(name.startswith("chat") for name in negatives) == ROWS_OF_A_KIND - 3


def test_without_known_risky_rows_there_are_no_negatives(tmp_path):
    rows = [row for row in task_rows() if row["kind"] == "task"]
    _, summary = audited(tmp_path, rows=rows)
    assert summary.detection is None
    assert not (tmp_path / "negatives.jsonl").exists()


def test_risky_rows_that_could_not_be_scored_are_told(tmp_path):
    rows = [row for row in task_rows() if row["kind"] == "task"]
    empty = rows[0] | {"id": "empty", "completion": [{"role": "assistant", "content": " "}], "kind": "risky"}
    _, summary = audited(tmp_path, rows=[*rows, empty])
    assert "known to be risky among 8 others: cannot be told, none of the risky ones was scored" in summary_text(
        summary
    )


def test_shares_by_the_rows_own_category_are_told(whole):
    told = summary_text(whole[1])
    for name, found in whole[1].categories.items():
        assert f"\n{name} " in told
        assert found["scored"] > 0
    assert "the row's own category" in told


def refusing(word):
    tokenizer = chatml_tokenizer()
    check = f"{{% for one in messages %}}{{% if '{word}' in one.content %}}{{{{ raise_exception('no {word}') }}}}"
    tokenizer.chat_template = check + "{% endif %}{% endfor %}" + tokenizer.chat_template
    return tokenizer


def test_a_row_that_the_template_refuses_is_named_before_the_model_works(tmp_path, monkeypatch):
    monkeypatch.setattr("dualselect.auditing.auditing.adapted", None)
    rows = [{"id": f"r{n}", "prompt": f"question {n}", "completion": "yes"} for n in range(80)]
    rows[71]["completion"] = "zebra"
    with pytest.raises(DataError, match=r"task row 71 \(id 'r71'\): the chat template refuses the row \(no zebra\)"):
        audited(tmp_path, rows=[row | _turns(row) for row in rows], tokenizer=refusing("zebra"))
    assert not list(tmp_path.glob("*.json*"))


def test_a_row_that_could_not_be_learned_from_is_not_rendered(tmp_path):
    zebra = {"id": "zebra", "prompt": "a zebra", "completion": " "}
    found, _ = audited(tmp_path, rows=[*task_rows(), zebra | _turns(zebra)], tokenizer=refusing("zebra"))
    assert found[-1]["unscored"] == "empty response"


def naming_tools():
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template = "{% if tools %}{{ tools[0].name }}{% endif %}" + tokenizer.chat_template
    return tokenizer


def test_tools_reach_the_template_as_in_a_training(tmp_path):
    plain = Dataset.from_list(task_rows())
    tooled = plain.add_column("tools", [json.dumps([{"name": f"tool {place}"}]) for place in range(len(plain))])
    trained = tokenize(as_conversations(tooled, name="task"), naming_tools(), max_length=256).dataset
    conversations = [row.conversation for row in TaskRows.of(tooled)]
    found = row_tokenizer(naming_tools(), config(tmp_path))(conversations)
    for name in ("input_ids", "labels"):
        assert [list(row[name]) for row in found] == [list(tokens) for tokens in trained[name]]
    assert "tool 7" in naming_tools().decode(found[7]["input_ids"])
    audited(tmp_path, rows=list(plain), tokenizer=naming_tools(), controls=False)
    with pytest.raises(ConfigError, match="finished audit of other data"):
        audited(tmp_path, rows=list(tooled), tokenizer=naming_tools(), controls=False)


def test_ids_make_rows_risky_too(tmp_path):
    rows = [row | {"kind": ""} for row in task_rows()]
    named = [row["id"] for row in rows[:5]]
    _, summary = audited(tmp_path, rows=rows, risky_ids=[*named, "no such row"], controls=False)
    assert summary.detection["risky"] == 5
    assert "control_loss" not in summary.detection["scores"]
    assert "opening" not in summary.detection["scores"]  # it costs more, and was not asked for
    with pytest.raises(DataError, match="none of the 1 ids"):
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
    rows = [row if isinstance(row["prompt"], list) else row | _turns(row) for row in rows]
    found, summary = audited(tmp_path, rows=rows, controls=False)
    unscored = {row["id"]: row["unscored"] for row in found if row["unscored"]}
    assert unscored == {"empty": "empty response", "long": "no response token within max_length"}
    assert summary.data["unscored"] == dict.fromkeys(unscored.values(), 1)


def test_a_row_whose_control_is_not_finite_is_told_as_any_other(tmp_path, monkeypatch):
    numbers = Measuring.numbers

    def with_a_broken_control(self, *given):
        found = numbers(self, *given)
        return found | {CONTROL: np.where(np.arange(len(found[CONTROL])) == 3, np.inf, found[CONTROL])}

    monkeypatch.setattr(Measuring, "numbers", with_a_broken_control)
    found, summary = audited(tmp_path)
    assert summary.data["unscored"] == {NOT_FINITE: 1}
    assert [row["id"] for row in found if row["unscored"]] == [task_rows()[3]["id"]]


def test_settings_of_the_steps_that_are_not_followed_are_told(tmp_path, caplog):
    settings = {"optim": "sgd", "lr_scheduler_type": "cosine", "warmup_steps": 7}
    with pytest.raises(DataError):
        audited(tmp_path, rows=[{"prompt": "a", "completion": ""}], settings=settings)
    told = [record.getMessage() for record in caplog.records if "not followed by an audit" in record.getMessage()]
    assert [line.split(":")[0] for line in told] == list(settings)


def test_the_first_row_has_every_column_though_it_could_not_be_scored(whole, tmp_path):
    empty = task_rows()[0] | {"id": "empty", "completion": [{"role": "assistant", "content": " "}]}
    found, _ = audited(tmp_path, rows=[empty, *task_rows()[1:]], all_scores=True)
    assert found.column_names == whole[0].column_names
    assert found[0]["unscored"] == "empty response"
    assert [found[0][name] for name in ("rank", "score", "conflict", "kept", "control_loss")] == [None] * 5
    assert None not in list(found["score"])[1:]
    assert (tmp_path / "audit.csv").read_text("utf-8").splitlines()[1].endswith("," * 17)


def _turns(row):
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }


def test_a_sample_estimates_what_all_rows_say(whole, tmp_path):
    sampled, summary = audited(tmp_path, sample=12, all_scores=True)
    assert (len(sampled), summary.data["rows"], summary.data["sample"]) == (12, 22, True)
    of_all = {row["id"]: row for row in whole[0]}
    for row in sampled:  # the warm-up draws from all rows, so that a row's numbers are the same
        assert row["cosine"] == pytest.approx(of_all[row["id"]]["cosine"], abs=1e-4)
    budget = summary.recommended_budget
    assert budget["low"] <= budget["kept_share"] <= budget["high"]
    assert whole[1].recommended_budget["low"] is None


def test_a_finished_audit_is_not_done_again_and_another_one_is_refused(whole, monkeypatch):
    _, summary, folder = whole
    monkeypatch.setattr("dualselect.auditing.auditing.score_rows", None)
    left = folder / ".scores.jsonl"
    left.write_text("of an audit that was killed at its very end", "utf-8")
    assert audited(folder, all_scores=True)[1] == summary
    assert not left.exists()
    with pytest.raises(ConfigError, match="finished audit of other data, settings, or another model"):
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
    assert not [name for name in NOT_READ if f"config.{name}" in text]


def test_an_adapter_and_a_config_for_another_one_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="leave peft_config out"):
        audited(tmp_path, of=get_peft_model(model(), LORA), peft_config=LORA)


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
    with pytest.raises(ConfigError, match="finished audit of other data, settings, or another model"):
        audited(whole[2], all_scores=True, **changed)


def test_the_scaling_of_an_own_adapter_is_part_of_the_audit(tmp_path):
    strong = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        audited(tmp_path, of=get_peft_model(model(), LORA), peft_config=None, controls=False)
        torch.manual_seed(0)
        with pytest.raises(ConfigError, match="finished audit"):
            audited(tmp_path, of=get_peft_model(model(), strong), peft_config=None, controls=False)


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


def test_prompts_that_stand_in_pool_and_data_are_refused_unless_allowed(tmp_path):
    both = task_rows() + list(references(2))
    with pytest.raises(DataError, match="2 references have a prompt that also stands in the task data"):
        audited(tmp_path / "refused", rows=both)
    _, summary = audited(tmp_path / "allowed", rows=both, settings={"allow_prompt_overlap": True}, controls=False)
    assert summary.data["scored"] == 24


def test_a_harmless_row_in_the_data_is_left_out_though_a_reference_has_its_id(tmp_path, caplog):
    calm = list(harmless())
    calm[2] |= {"id": references()[0]["id"]}
    with caplog.at_level("INFO", "dualselect"):
        _, summary = audited(tmp_path, rows=[*task_rows(), calm[2]], harmless_given=Dataset.from_list(calm))
    assert summary.data["scored"] == 23
    assert "1 harmless conversations stand in the data too" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"score": "best"}, ConfigError, "score is 'best': write one of published"),
        ({"sample": 0}, ConfigError, "sample is 0"),
        ({"peft_config": LoraConfig(target_modules=["nowhere"])}, ModelError, "lora_target_modules"),
        ({"rows": [{"prompt": "a", "completion": ""}]}, DataError, "none of 1 rows"),
    ],
    ids=["score", "sample", "adapter", "rows"],
)
def test_what_cannot_be_audited_is_refused(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        audited(tmp_path, **options)
