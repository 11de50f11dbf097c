"""The loop, end to end on tiny models."""

import copy
import dataclasses
import json
import logging
import math

import pytest
import torch
from datasets import Dataset
from gradients_for_tests import one_at_a_time
from models_for_tests import ARCHITECTURES
from rows_for_tests import adapter_of, conversation_rows, events, safe_rows, small_trainer, trained
from transformers import TrainerCallback
from trl import SFTConfig

from dualselect import DualSelectConfig
from dualselect.errors import ConfigError, DataError, GradientError
from dualselect.gradients import GradientLayout, cosines
from dualselect.models.losses import response_cross_entropy
from dualselect.models.response_states import ResponseStates
from dualselect.training.references import start_model_of


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_full_steps(tmp_path, architecture):
    trainer = small_trainer(tmp_path, architecture=architecture, max_steps=4, gradient_checkpointing=True)
    before = adapter_of(trainer)
    trainer.train()
    assert any(not torch.equal(before[name], value) for name, value in adapter_of(trainer).items())
    found = [line["event"] for line in trainer.selection_log.read()]
    assert found == ["warmup", "warmup", "refresh", "step", "step", "end"]


@pytest.mark.parametrize("preservation_loss", ["excess", "kl"])
def test_mixed_precision_takes_full_steps_near_those_of_float32(tmp_path, preservation_loss):
    """Accelerate's autocast is around the model's forward alone, and so it is off where gradients are compared."""
    gradients = []
    for precision in (False, True):
        seen = LastGradient()
        trained(
            tmp_path / str(precision),
            max_steps=3,
            bf16=precision,
            preservation_loss=preservation_loss,
            reference_contrast="compliance",
            learning_rate=0.0,
            max_grad_norm=0.0,
            reference_fraction=1.0,
            task_token_budget=1.0,
            trainer_arguments={"callbacks": [seen]},
        )
        gradients.append(seen.gradient)
    exact, rounded = gradients
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.05


class LastGradient(TrainerCallback):
    """Keeps what the optimizer was given last."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradient = torch.cat([value.grad.flatten() for value in model.parameters() if value.requires_grad])


def test_a_step_is_what_the_method_says(tmp_path):
    """One update recomputed from the definitions, one example at a time."""
    seen = LastGradient()
    trainer = trained(
        tmp_path,
        max_steps=3,
        preservation_loss="ce",
        learning_rate=0.0,
        max_grad_norm=0.0,
        rho=0.3,
        task_top_k=2,
        trainer_arguments={"callbacks": [seen]},
    )
    model, layout = trainer.model.train(), GradientLayout.of(trainer.model)

    def gradients(prepared, ids):
        names = prepared.ids_of(prepared.indices)
        rows = [prepared.tokens[names.index(name)] for name in ids]
        batch = trainer.data_collator([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
        return one_at_a_time(model, batch, response_cross_entropy, layout)

    warmup = sum(gradients(trainer._rows["train"], line["ids"])[1].mean(0) for line in events(trainer, "warmup"))
    (refresh,), (step,) = events(trainer, "refresh"), events(trainer, "step")
    losses, pool = gradients(trainer._rows["reference"], refresh["ids"])
    scores = losses - cosines(pool, warmup)
    assert refresh["scores"] == pytest.approx(scores.tolist(), abs=1e-5)
    assert refresh["kept"] == [position == int(scores.argmax()) for position in range(10)]
    direction = pool[int(scores.argmax())]
    losses, batch = gradients(trainer._rows["train"], step["ids"])
    task_scores = losses - cosines(batch, direction)
    assert step["scores"] == pytest.approx(task_scores.tolist(), abs=1e-5)
    kept = task_scores.argsort()[:2]
    expected = batch[kept].mean(0) + 0.3 * direction
    torch.testing.assert_close(seen.gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_task_direction_is_the_mean_of_the_selected_gradients_since_the_refresh(tmp_path):
    trainer = trained(tmp_path, max_steps=8, reference_refresh="steps", reference_refresh_steps=3, learning_rate=0.0)
    first, second = events(trainer, "refresh")
    warmup = [line["task_gradient_norm"] for line in events(trainer, "warmup")]
    steps = [line["task_gradient_norm"] for line in events(trainer, "step")][:3]
    assert first["task_direction_norm"] <= sum(warmup) + 1e-6
    assert second["task_direction_norm"] <= sum(steps) / 3 + 1e-6
    assert second["step"] - first["step"] == 3


def test_a_stale_direction_and_a_changed_choice_are_told_apart(tmp_path):
    settings = {"max_steps": 6, "reference_refresh": "steps", "reference_refresh_steps": 2, "reference_top_k": 3}
    still = events(trained(tmp_path / "still", learning_rate=0.0, **settings), "refresh")
    assert "same_references_cosine" not in still[0]
    assert [line["same_references_cosine"] for line in still[1:]] == pytest.approx([1.0], abs=1e-4)
    trainer = trained(tmp_path / "moved", **settings)
    last, choice = trainer._loop.refresh, trainer.pool.choose(torch.arange(10, dtype=torch.float64))
    scores = trainer.pool.score(
        trainer.model,
        last.task_direction,
        start_losses=trainer._loop.start_losses,
        start_model=start_model_of(trainer.model),
        before=choice,
    )
    expected = trainer.pool.directions(trainer.model, choice).correction
    torch.testing.assert_close(scores.direction_of_before, expected, rtol=1e-4, atol=1e-6)
    same = dataclasses.replace(last, choice=choice, directions=trainer.pool.directions(trainer.model, choice))
    facts = last.facts(scores, same, trainer.args.harmless_drop_rate)
    assert facts["same_references_cosine"] == pytest.approx(1.0, abs=1e-4)
    assert facts["reference_direction_cosine"] < 1.0 - 1e-4


def test_how_far_the_directions_turned_is_told_at_each_step_and_at_the_end(tmp_path):
    trainer = trained(tmp_path, max_steps=6)
    last, steps, (end,) = trainer._loop.refresh, events(trainer, "step"), events(trainer, "end")
    assert end["step"] == 7  # so that a run which goes on from its last checkpoint drops it
    fresh = trainer.pool.directions(trainer.model, last.choice).correction
    expected = cosines(fresh, last.directions.correction[0]).item()
    assert end["same_references_cosine"] == pytest.approx(expected, abs=1e-4)
    assert end["same_references_cosine"] < 1 - 1e-4
    turned = cosines(trainer._loop.task_direction[None], last.task_direction).item()
    assert steps[-1]["task_direction_cosine"] == pytest.approx(turned, abs=1e-5)
    assert len({line["task_direction_cosine"] for line in steps}) == len(steps) == 4
    assert all("task_direction_cosine" not in line for line in events(trainer, "warmup"))


class Stopped(TrainerCallback):
    """Ends a run after its fourth step, as an interruption does."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 4


def test_a_run_that_was_stopped_early_has_no_end(tmp_path):
    trainer = trained(tmp_path, max_steps=6, trainer_arguments={"callbacks": [Stopped()]})
    assert events(trainer, "step")[-1]["step"] == 4
    assert events(trainer, "end") == []


def test_a_direction_of_no_length_has_no_cosine(tmp_path):
    trainer = trained(
        tmp_path, max_steps=3, selection_warmup_steps=0, reference_refresh="steps", reference_refresh_steps=2
    )
    first, second = events(trainer, "refresh")
    assert first["task_direction_norm"] == 0.0
    assert second["task_direction_cosine"] is None
    assert ["task_direction_cosine" in line for line in events(trainer, "step")] == [False, False, True]
    assert second["same_references_cosine"] is not None


def test_excess_is_loss_now_minus_loss_at_the_start(tmp_path):
    trainer = trained(tmp_path, max_steps=4)
    (refresh,) = events(trainer, "refresh")
    start = trainer._loop.start_losses
    found = [now - then for now, then in zip(refresh["losses"], start.tolist(), strict=True)]
    assert refresh["preservation_losses"] == pytest.approx(found, abs=1e-9)
    assert any(abs(value) > 1e-4 for value in found)
    still = trained(tmp_path / "still", max_steps=4, learning_rate=0.0)
    assert events(still, "refresh")[0]["preservation_losses"] == pytest.approx([0.0] * 10, abs=1e-6)


def test_kl_is_zero_for_an_unchanged_model_and_positive_after_steps(tmp_path):
    still = trained(tmp_path / "a", max_steps=4, learning_rate=0.0, preservation_loss="kl")
    assert events(still, "refresh")[0]["preservation_losses"] == pytest.approx([0.0] * 10, abs=1e-6)
    moved = trained(tmp_path / "b", max_steps=4, preservation_loss="kl")
    assert min(events(moved, "refresh")[0]["preservation_losses"]) > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"correction": "project"},
        {"correction": "project_add", "rho_mode": "relative"},
        {"correction": "none"},
        {"selection_mode": "soft"},
        {"task_token_budget": "auto", "reference_contrast": "compliance"},
        {"task_token_budget": 1.0},
        {"task_top_k": 1},
        {"reference_top_k": 10},
        {"reference_gradient": "replay", "reference_top_k": 6},
        {"reference_refresh": "adaptive", "reference_refresh_steps": 2, "reference_refresh_cosine": 1.0},
        {"reference_contrast": "compliance"},
        {"gradient_engine": "sequential"},
        {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 2},
        {"selection_warmup_steps": 0},
        {"optim": "sgd"},
        {"prompt_format": "human_assistant", "mask_mode": "legacy"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_setting_trains_and_logs_what_it_kept(tmp_path, settings):
    trainer = trained(tmp_path, **({"max_steps": 6} | settings))
    steps = events(trainer, "step")
    size = trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps
    assert len(steps) == 6 - trainer.args.selection_warmup_steps
    for line in steps:
        assert len(line["ids"]) <= size
        assert sum(line["weights"]) == pytest.approx(1.0)
        assert [weight > 0 for weight in line["weights"]] == line["kept"]
        assert line["kinds"] == ["task"] * len(line["ids"])
    assert all(math.isfinite(value.sum()) for value in adapter_of(trainer).values())


def test_a_budget_of_all_tokens_without_correction_is_plain_fine_tuning(tmp_path):
    plain = trained(tmp_path / "a", correction="none", task_token_budget=1.0)
    warmup_only = trained(tmp_path / "b", correction="none", selection_warmup_steps=11)
    for name, value in adapter_of(plain).items():
        torch.testing.assert_close(value, adapter_of(warmup_only)[name], rtol=0, atol=1e-6)


def test_a_pool_smaller_than_k_is_kept_whole_and_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = trained(tmp_path, references=safe_rows(3), reference_top_k=8, max_steps=3)
    assert events(trainer, "refresh")[0]["kept"] == [True] * 3
    assert "the pool has only 3 rows" in caplog.text


def test_row_ids_survive_dropped_rows(tmp_path, caplog):
    rows = conversation_rows(12)
    rows = rows.map(
        lambda row, index: {
            "messages": [
                row["messages"][0],
                {"role": "assistant", "content": "" if index in (0, 5) else row["messages"][1]["content"]},
            ]
        },
        with_indices=True,
    )
    with caplog.at_level(logging.INFO):
        trainer = trained(tmp_path, task=rows, max_steps=3)
    seen = {name for line in events(trainer, "warmup") + events(trainer, "step") for name in line["ids"]}
    assert seen.isdisjoint({"t0", "t5"})
    assert "dropped 2 rows" in caplog.text
    losses = {
        name: loss
        for line in events(trainer, "warmup")[:1]
        for name, loss in zip(line["ids"], line["losses"], strict=True)
    }
    fresh = small_trainer(tmp_path / "fresh", task=rows)
    for name, loss in losses.items():
        prepared = fresh._rows["train"]
        position = prepared.ids_of(prepared.indices).index(name)
        row = prepared.tokens[position]
        batch = fresh.data_collator([{key: row[key] for key in ("input_ids", "labels")}])
        assert response_cross_entropy(fresh.model, batch).item() == pytest.approx(loss, abs=1e-5)


def test_evaluation_keeps_the_loss_of_trl(tmp_path):
    trainer = small_trainer(tmp_path, trainer_arguments={"eval_dataset": conversation_rows(5)})
    assert trainer.evaluate()["eval_loss"] > 0


def test_metrics_of_trl_and_of_the_selection_are_logged(tmp_path):
    trainer = trained(tmp_path, logging_steps=4)
    logged = trainer.state.log_history[1]
    wanted = {
        "loss",
        "mean_token_accuracy",
        "num_tokens",
        "entropy",
        "dualselect/kept_fraction",
        "dualselect/task_cosine",
    }
    assert wanted <= set(logged)
    assert 0 < logged["dualselect/kept_token_fraction"] <= 1


def test_a_second_call_of_train_starts_anew(tmp_path):
    trainer = trained(tmp_path, max_steps=4)
    trainer.train()
    assert [line["step"] for line in trainer.selection_log.read()] == [1, 2, 3, 3, 4, 5]


# Refusals, before anything is trained


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_row(tmp_path):
    trainer = small_trainer(tmp_path)
    next(value for name, value in trainer.model.named_parameters() if "lora_A" in name).data.fill_(float("inf"))
    next(value for name, value in trainer.model.named_parameters() if "lora_B" in name).data.fill_(1.0)
    before = adapter_of(trainer)
    with pytest.raises(GradientError, match=r"references.*not finite .*r\d"):
        trainer.train()
    assert all(torch.equal(before[name], value) for name, value in adapter_of(trainer).items())


def test_task_rows_that_are_not_finite_are_named(tmp_path):
    trainer = small_trainer(tmp_path, preservation_loss="ce")
    next(value for name, value in trainer.model.named_parameters() if "lora_A" in name).data.fill_(float("inf"))
    next(value for name, value in trainer.model.named_parameters() if "lora_B" in name).data.fill_(1.0)
    with pytest.raises(GradientError, match=r"task examples in step 1 is not finite for 4 of 4 rows .*t\d"):
        trainer.train()
    assert trainer.state.global_step == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"references": safe_rows(0)}, DataError, "reference_dataset is empty"),
        ({"task": conversation_rows(0)}, DataError, "train_dataset is empty"),
        ({"references": conversation_rows(4)}, DataError, "have a prompt that is also in the task data"),
        ({"task": Dataset.from_list([{"a": "b"}])}, DataError, "fit no known row format"),
        ({"max_length": 3}, DataError, "Raise max_length"),
        ({"reference_contrast": "rejected"}, DataError, "no rejected response"),
        ({"trainer_arguments": {"compute_loss_func": print}}, ConfigError, "compute_loss_func"),
    ],
    ids=["empty pool", "empty task", "overlap", "format", "too long", "no rejected", "loss function"],
)
def test_what_cannot_work_is_refused(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        small_trainer(tmp_path, **arguments).train()
    assert not list(tmp_path.glob("selection*"))


def test_all_steps_warm_up_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Lower selection_warmup_steps"):
        small_trainer(tmp_path, max_steps=2).train()


def test_an_sft_config_is_refused(tmp_path):
    from dualselect import DualSelectTrainer

    with pytest.raises(ConfigError, match="build it with DualSelectConfig"):
        DualSelectTrainer(
            "x",
            SFTConfig(str(tmp_path), bf16=False),
            train_dataset=conversation_rows(2),
            reference_dataset=safe_rows(2),
        )


def test_allowed_overlap_is_counted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        small_trainer(tmp_path, references=conversation_rows(4), allow_prompt_overlap=True)
    assert "4 of 4 references share their prompt" in caplog.text


def test_the_log_holds_only_json_numbers(tmp_path):
    trainer = trained(tmp_path, max_steps=3)
    for line in trainer.selection_log.path.read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(name))


def test_the_config_is_not_changed_by_training(tmp_path):
    trainer = small_trainer(tmp_path, max_steps=3)
    before = copy.deepcopy({name: getattr(trainer.args, name) for name in DualSelectConfig.__annotations__})
    trainer.train()
    assert before == {name: getattr(trainer.args, name) for name in DualSelectConfig.__annotations__}


def test_the_filter_drops_what_conflicts_more_than_all_but_a_share_of_harmless_rows(tmp_path):
    settings = {"task_token_budget": "auto", "reference_contrast": "compliance", "harmless_drop_rate": 0.05}
    trainer = trained(tmp_path, max_steps=4, learning_rate=0.0, **settings)
    refresh, harmless = trainer._loop.refresh, trainer._harmless
    (line,) = events(trainer, "refresh")
    threshold = line["conflict_threshold"]
    assert threshold == refresh.conflict_threshold(0.05)
    rows = [{key: harmless.tokens[n][key] for key in ("input_ids", "labels")} for n in range(len(harmless.kinds))]
    _, gradients = one_at_a_time(
        trainer.model.eval(), trainer.data_collator(rows), response_cross_entropy, GradientLayout.of(trainer.model)
    )
    found = cosines(gradients, refresh.directions.score[0])
    states = ResponseStates(trainer.model)
    with torch.no_grad():
        states.during(response_cross_entropy)(trainer.model, trainer.data_collator(rows))
    decides = refresh.conflict_filter
    conflicts = decides.conflicts(found, decides.probe.scores(states.take()))
    for kind, logged in line["harmless_conflicts"].items():
        expected = conflicts[[name == kind for name in harmless.kinds]]
        torch.testing.assert_close(torch.tensor(logged, dtype=torch.float64), expected, rtol=1e-3, atol=1e-3)
        assert sum(conflict > threshold for conflict in logged) <= 0.05 * (len(logged) + 1)
    assert set(line["harmless_conflicts"]) == set(line["dropped_if_left_out"]) == {"chat", "lookalike", "task"}
    for step in events(trainer, "step"):
        both = decides.conflicts(torch.tensor(step["cosines"]), torch.tensor(step["probe_scores"]))
        torch.testing.assert_close(torch.tensor(step["conflicts"], dtype=torch.float64), both)
        assert step["kept"] == [conflict <= threshold for conflict in step["conflicts"]]
        assert step["kept"] == [p_value > 0.05 for p_value in step["p_values"]]
