"""A whole diagnostic on a tiny model."""

import csv
import json
import sys

import matplotlib as mpl
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from dualselect.data.token_columns import token_rows
from dualselect.diagnostic import diagnose, read_diagnostic
from dualselect.diagnostic.diagnosing import read_result
from dualselect.diagnostic.figure import STYLE, draw, write_figure
from dualselect.diagnostic.pool import cosine_table
from dualselect.diagnostic.rows import read_rows, task_batches, tokenize_rows
from dualselect.diagnostic.subject import Subject
from dualselect.errors import ConfigError, DataError, ResumeError
from dualselect.evaluation.store import Store
from dualselect.gradients import Materialise
from dualselect.system.lock import FOLDER_LOCK


TABLES = ("overlap.csv", "categories.csv", "probes.csv")


@pytest.fixture(scope="module")
def done(model_folder, files, tmp_path_factory):
    """A diagnostic, and its content."""
    given = {
        "model_name_or_path": str(model_folder), "task_data": [str(files / "task.jsonl")],
        "reference_data": [str(files / "pool.jsonl")], "probe_data": [str(files / "probes.jsonl")],
        "output_dir": str(tmp_path_factory.mktemp("done")), "per_device_train_batch_size": 3,
        "selection_warmup_steps": 2, "learning_rate": 1e-2, "reference_top_k": 4, "lora_r": 4, "batches": 2,
        "use_cpu": True, "disable_tqdm": True, "max_length": 256, "rho": 1.0,
    }  # fmt: skip
    path = diagnose(read_diagnostic(None, given))
    return path.parent, read_result(path)


def test_everything_is_told(done):
    folder, content = done
    assert content["pool"]["categories"] == {"fraud": 6, "hate": 6, "theft": 6}
    assert [batch["group"] for batch in content["batches"]] == ["lists", "songs", "sums"] * 2
    rows = [row for batch in content["batches"] for row in batch["rows"]]
    assert len(set(rows)) == 18
    assert all(row.startswith(batch["group"]) for batch in content["batches"] for row in batch["rows"])
    assert {(row["strategy"], row["correction"]) for row in content["probes"]} == {
        ("", "none"), ("dualselect", "add"), ("static", "add"), ("periodic_random", "add"), ("uniform", "add"),
        ("dualselect", "project"), ("dualselect", "project_add"),
    }  # fmt: skip
    assert content["kl_before_updates"] > 0
    assert (content["probes_count"], content["probes_in_pool"]) == (4, 0)
    for row in content["probes"][1:]:
        assert row["median_low"] <= row["median_high"]
        assert (row["p90_low"], row["p90_high"]) == (None, None)
    for row in content["categories"]:
        assert row["share_of_pool"] == pytest.approx(1 / 3)
    shares = {}
    for row in content["categories"]:
        key = row["strategy"], row["group"]
        shares[key] = shares.get(key, 0) + row["share"]
    assert len(shares) == 12
    assert all(total == pytest.approx(1) for total in shares.values())
    static = [row for row in content["overlap"] if row["strategy"] == "static"]
    assert [row["overlap"] for row in static] == [1.0, 1.0, 1.0]
    assert [line[:3] for line in content["findings"] if line[0] == "("] == ["(a)", "(b)", "(c)"]
    for name in TABLES:
        with (folder / name).open() as file:
            table = list(csv.DictReader(file))
        assert len(table) == len(content[name.removesuffix(".csv")])
    assert not list(folder.glob("*.safetensors"))


def test_figures_are_whole_and_the_same_each_time(done, tmp_path):
    folder, content = done
    svg, pdf = (folder / "diagnostic.svg").read_text(), (folder / "diagnostic.pdf").read_bytes()
    for text in ("(a) overlap of batches", "(b) references by category", "(c) held-out probes", "theft", "songs"):
        assert text in svg
    assert pdf.startswith(b"%PDF")
    write_figure(content, tmp_path)
    assert (tmp_path / "diagnostic.svg").read_text() == svg
    assert (tmp_path / "diagnostic.pdf").read_bytes() == pdf


def test_no_two_texts_of_the_figure_overlap_and_none_is_cut(done):
    with mpl.rc_context(STYLE):
        figure = draw(done[1])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    ticks = [(axis, tick) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in axis.majorTicks]
    not_drawn = [
        label
        for axis, tick in ticks
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    ]
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible() and text not in not_drawn
    ]
    assert len(boxes) > 25
    width, height = canvas.get_width_height()
    for number, (name, box) in enumerate(boxes):
        assert box.x0 >= -1, name
        assert box.y0 >= -1, name
        assert box.x1 <= width + 1, name
        assert box.y1 <= height + 1, name
        for other, other_box in boxes[number + 1 :]:
            assert not box.shrunk(0.9, 0.9).overlaps(other_box.shrunk(0.9, 0.9)), (name, other)


def test_a_finished_one_is_told_again_and_other_settings_are_refused(done, given):
    folder, _ = done
    again = given | {"output_dir": str(folder), "rho": 1.0}
    before = (folder / "diagnostic.json").read_bytes()
    assert diagnose(read_diagnostic(None, again)).read_bytes() == before
    with pytest.raises(ResumeError, match="different settings"):
        diagnose(read_diagnostic(None, again | {"rho": 0.5}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optim": "sgd"}, ["optim: sgd is ignored by a diagnostic: every update is a step of AdamW"]),
        ({"lr_scheduler_type": "cosine"}, ["lr_scheduler_type: cosine is ignored"]),
        ({"warmup_steps": 10, "lr_scheduler_type": "constant_with_warmup"}, ["warmup_steps: 10"]),
        ({"task_token_budget": "0.5"}, ["task_token_budget: 0.5"]),
        ({"task_top_k": 2}, ["task_top_k: 2"]),
        ({"reference_gradient": "replay", "task_token_budget": 1.0}, ["reference_gradient: replay"]),
        ({"gradient_checkpointing": True}, ["gradient_checkpointing: True"]),
        ({"optim": "adamw_torch", "lr_scheduler_type": "constant", "warmup_steps": 0, "task_token_budget": 1.0}, []),
        ({}, []),
    ],
)
def test_ignored_settings_of_a_run_are_reported(settings, caplog, changes, said):
    settings(**changes)
    told = [record.getMessage() for record in caplog.records if "ignored by a diagnostic" in record.getMessage()]
    assert len(told) == len(said)
    assert all(text in line for text, line in zip(said, told, strict=True))


def test_only_what_decides_the_result_has_to_be_the_same(settings):
    written = settings().resolved
    assert json.loads(json.dumps(written)) == written
    for same in (
        {"disable_tqdm": False}, {"logging_steps": 3}, {"weight_decay": 0.0}, {"updates": 2}, {"rho": "0.2"},
        {"overwrite": False}, {"output_dir": "elsewhere"},
    ):  # fmt: skip
        assert settings(**same).resolved == written, same
    for other in ({"rho": 0.5}, {"updates": 3}, {"learning_rate": 2e-2}, {"lora_r": 8}, {"max_length": 128}):
        assert settings(**other).resolved != written, other


@pytest.mark.parametrize("name", ["diagnostic.json", "measured.jsonl", "state.safetensors"])
def test_what_nobody_knows_the_settings_of_is_neither_used_nor_removed(settings, tmp_path, name):
    left = tmp_path / "diagnostic" / name
    left.parent.mkdir()
    left.write_text("")
    with pytest.raises(ResumeError, match=f"contains {name} of a diagnostic but no settings.json.*remove the folder"):
        diagnose(settings())
    assert {path.name for path in left.parent.iterdir()} == {name, FOLDER_LOCK}


@pytest.mark.parametrize("part", [0.05, 0.9])
def test_cut_off_after_any_batch_it_ends_the_same(done, given, tmp_path, part):
    """The store ends in the middle of a line, and the directions are gone."""
    whole, content = done
    lines = (whole / "measured.jsonl").read_bytes().splitlines(keepends=True)
    kept = int(part * len(lines))
    (tmp_path / "measured.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
    (tmp_path / "settings.json").write_bytes((whole / "settings.json").read_bytes())
    path = diagnose(read_diagnostic(None, given | {"rho": 1.0, "output_dir": str(tmp_path)}))
    assert read_result(path) == content
    for name in TABLES:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    assert len((tmp_path / "measured.jsonl").read_bytes().splitlines()) == len(lines)


def test_in_mixed_precision_the_model_moves_and_gradients_are_compared_in_float32(settings):
    made = settings(
        bf16=True, reference_batch_size=18, strategies=["dualselect"], corrections=["none"], reference_contrast="none"
    )
    assert read_result(diagnose(made))["kl_before_updates"] > 1e-7
    made = settings(
        bf16=True, reference_batch_size=18, strategies=["dualselect"], corrections=["none"], reference_contrast="none",
        selection_warmup_steps=0, output_dir=str(made.folder / "from_the_start"),
    )  # fmt: skip
    diagnose(made)
    subject = Subject.of(made.run)
    rows = tokenize_rows(read_rows(made), subject.tokenizer, made.run.training)
    batches = task_batches(rows.groups, size=3, per_group=2, seed=made.run.training.seed)
    directions = torch.stack([subject.mean_gradient(rows.task.tokens, batch.rows) for batch in batches])
    lengths = [len(row) for row in rows.pool.tokens["input_ids"]]
    by_length = sorted(range(18), key=lambda row: (lengths[row], row))
    sink = Materialise(subject.layout, 18)
    subject.run(token_rows(rows.pool.tokens, by_length), [sink])
    gradients = sink.gradients
    assert torch.equal(gradients, gradients.bfloat16().float())
    with Store.opened(made.folder / "measured.jsonl") as store:
        found = torch.tensor(store[f"pool/{by_length[0]}"]["cosines"])
    torch.testing.assert_close(found[:-1], cosine_table(gradients, directions), rtol=1e-4, atol=1e-5)


def test_without_a_warm_up_nothing_has_moved_and_a_still_model_is_told(settings):
    content = read_result(diagnose(settings(selection_warmup_steps=0, learning_rate=0.0, strategies=["dualselect"])))
    assert content["kl_before_updates"] == pytest.approx(0.0, abs=1e-6)
    assert [row["kl"] for row in content["probes"]] == pytest.approx([0.0] * 4, abs=1e-6)
    assert any("did not move any probe" in line for line in content["findings"])


def test_sketched_contrasted_and_grouped_by_source(settings, files):
    content = read_result(
        diagnose(
            settings(
                task_data=[f"easy={files / 'task.jsonl'}[0:9]", f"hard={files / 'task.jsonl'}[9:27]"],
                group_by="source",
                reference_contrast="compliance",
                preservation_loss="kl",
                selection_mode="soft",
                sketch=2048,
                strategies=["dualselect"],
                corrections=["none"],
            )
        )
    )
    assert {batch["group"] for batch in content["batches"]} == {"easy", "hard"}
    assert 0 < content["pool"]["sketch"]["mean_error"] < 0.1
    assert "count-sketches of 2,048" in content["findings"][-1]


def test_probe_responses_that_the_pool_holds_word_for_word_are_counted(settings, files, tmp_path):
    probes = [json.loads(line) for line in (files / "probes.jsonl").read_text().splitlines()]
    in_pool = json.loads((files / "pool.jsonl").read_text().splitlines()[5])["completion"]
    probes[0]["completion"] = probes[2]["completion"] = in_pool
    (tmp_path / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in probes))
    content = read_result(
        diagnose(
            settings(probe_data=[str(tmp_path / "probes.jsonl")], strategies=["dualselect"], corrections=["none"])
        )
    )
    assert content["probes_in_pool"] == 2
    assert any("2 of 4 probe responses are in the pool verbatim" in line for line in content["findings"])


def test_references_without_a_category_get_one_from_their_words(settings, files, tmp_path):
    rows = [json.loads(line) | {"category": ""} for line in (files / "pool.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["prompt"] = f"{'how to steal' if number % 2 else 'where is my gun'} {number}"
    rows.append({"prompt": "where is my gun then", "completion": "", "category": ""})
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = read_result(
        diagnose(
            settings(reference_data=[str(tmp_path / "plain.jsonl")], strategies=["dualselect"], corrections=["none"])
        )
    )
    assert content["pool"]["categories"] == {"theft": 9, "weapons": 9}
    assert content["pool"]["categories_from_words"] == 18


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"output_dir": ""}, ConfigError, "output_dir is missing"),
        ({"probe_data": []}, ConfigError, "probe_data is missing"),
        ({"batches": 1}, ConfigError, "batches is 1"),
        ({"period": 6}, ConfigError, "period is 6 but there are only 6 task batches"),
        ({"batches": "many"}, ConfigError, "batches is 'many'; use an integer"),
        ({"group_by": "color"}, ConfigError, "one of kind, category, source"),
        ({"strategies": ["uniform"]}, ConfigError, "must include dualselect"),
        ({"correction": "none"}, ConfigError, "correction is none"),
        ({"resume": "true"}, ConfigError, "resume is a setting of dualselect train: omit resume"),
        ({"overwrite": True}, ConfigError, "overwrite is a setting of dualselect train: omit overwrite"),
        ({"rhoo": 1}, ConfigError, "did you mean rho"),
        ({"batchs": 1}, ConfigError, "did you mean batches"),
        ({"group_by": "source"}, ConfigError, "all task rows are in one group"),
        ({"group_by": "category"}, DataError, "27 of 27 task rows have no category"),
        ({"per_device_train_batch_size": 5}, DataError, "lists \\(9\\), songs \\(9\\), sums \\(9\\)"),
        ({"reference_top_k": 18}, DataError, "leaves no choice"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_leaves_nothing(settings, tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        diagnose(settings(**changes))
    assert not (tmp_path / "diagnostic").exists()


def test_a_group_that_is_small_without_its_unusable_rows_is_refused_before_anything_is_measured(
    settings, files, tmp_path
):
    rows = [json.loads(line) for line in (files / "task.jsonl").read_text().splitlines()]
    for row in rows[:4]:
        row["prompt"] += " and more" * 300
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"usable rows .*max_length 256\) than two batches of 3: sums \(5\)\."):
        diagnose(settings(task_data=[str(tmp_path / "long.jsonl")]))
    assert not (tmp_path / "diagnostic").exists()


def test_a_missing_matplotlib_is_told_before_anything_is_read(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"dualselect\[report\]"):
        diagnose(settings(task_data=["not/there.jsonl"]))


def test_the_config_of_a_run_can_be_diagnosed(given, tmp_path):
    (tmp_path / "config.yaml").write_text("rho: 0.7\nupdates: 4\ndualselect_run: {versions: {}}\n")
    settings = read_diagnostic(tmp_path / "config.yaml", given)
    assert settings.run.training.rho == 0.7
    assert settings.options.updates == 4
    assert settings.options.batches == 2
    assert read_diagnostic(tmp_path / "config.yaml", given | {"rho": "0.9"}).run.training.rho == 0.9


def test_probes_that_are_not_held_out_are_refused(settings, files):
    for role, name in (("reference_data", "pool"), ("task_data", "task")):
        with pytest.raises(DataError, match=f"4 of 4 probes share their prompt with {role}"):
            diagnose(settings(probe_data=[f"{files / name}.jsonl[0:4]"]))
