"""A pool with two sides: told apart, selected, contrasted and corrected apart."""

import pytest
import torch
from datasets import Dataset, concatenate_datasets
from gradients_for_tests import one_at_a_time
from rows_for_tests import adapter_of, conversation_rows, events, safe_rows, small_trainer, trained

from dualselect.data.contrast import COMPLIANCES, REFUSALS
from dualselect.gradients import GradientLayout
from dualselect.models.losses import response_cross_entropy
from dualselect.training.step import corrected_update


def two_sided(refusals: int, helpful: int) -> Dataset:
    return concatenate_datasets([safe_rows(refusals), conversation_rows(helpful, "Take {number} of them.", "h")])


def gradients_of(trainer, rows) -> torch.Tensor:
    batch = trainer.data_collator([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
    return one_at_a_time(trainer.model.eval(), batch, response_cross_entropy, GradientLayout.of(trainer.model))[1]


@pytest.mark.parametrize(
    ("refusals", "helpful", "sides"), [(10, 10, 2), (30, 4, 2), (40, 4, 1), (10, 3, 1), (10, 0, 1), (0, 10, 1)]
)
def test_a_side_needs_four_references_and_a_tenth_of_the_pool(tmp_path, refusals, helpful, sides):
    rows = [part for part in (refusals and safe_rows(refusals), helpful and two_sided(1, helpful)) if part]
    pool = two_sided(refusals, helpful) if refusals and helpful else rows[-1]
    trainer = small_trainer(tmp_path, references=pool)
    assert len(trainer.pool.quotas) == sides


def test_one_side_on_request(tmp_path):
    trainer = small_trainer(tmp_path, references=two_sided(10, 10), reference_sides="one")
    assert trainer.pool.quotas == [2]


@pytest.mark.parametrize(
    ("settings", "quotas"),
    [({"reference_fraction": 0.25}, [3, 5]), ({"reference_top_k": 5}, [3, 3]), ({"reference_top_k": 99}, [12, 20])],
)
def test_each_side_has_its_quota(tmp_path, settings, quotas):
    trainer = small_trainer(tmp_path, references=two_sided(12, 20), **settings)
    assert trainer.pool.quotas == quotas
    choice = trainer.pool.choose(torch.arange(32.0))
    for side, quota in enumerate(quotas):
        kept = [position for position in choice.kept if trainer.pool.sides[position] == side]
        assert len(kept) == quota
        assert choice.weights[trainer.pool.sides == side].sum() == pytest.approx(1.0)


def test_a_refusal_is_contrasted_with_a_compliance_and_help_with_a_refusal(tmp_path):
    trainer = small_trainer(tmp_path, references=two_sided(6, 6), reference_contrast="compliance")
    decode = trainer.processing_class.decode
    for position, side in enumerate(trainer.pool.sides.tolist()):
        row = trainer.pool.contrast_rows[position]
        text = decode([token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100])
        assert any(
            decode(trainer.processing_class(known)["input_ids"])[:20] in text
            for known in (COMPLIANCES, REFUSALS)[side]
        )


@pytest.mark.parametrize("contrast", ["none", "compliance"])
def test_each_side_has_its_direction(tmp_path, contrast):
    trainer = trained(
        tmp_path,
        references=two_sided(8, 8),
        reference_fraction=0.5,
        reference_contrast=contrast,
        max_steps=3,
        learning_rate=0.0,
    )
    pool, refresh = trainer.pool, trainer._loop.refresh
    safe = gradients_of(trainer, [pool.rows[position] for position in range(16)])
    for side in (0, 1):
        weights = torch.where(pool.sides == side, refresh.choice.weights, 0.0).float()
        torch.testing.assert_close(refresh.directions.correction[side], weights @ safe, rtol=1e-4, atol=1e-6)
        if contrast == "compliance":
            other = gradients_of(trainer, [pool.contrast_rows[position] for position in range(16)])
            torch.testing.assert_close(refresh.directions.score[side], weights @ (safe - other), rtol=1e-4, atol=1e-6)


def test_the_correction_adds_both_and_a_row_has_the_lowest_cosine(tmp_path):
    trainer = trained(
        tmp_path,
        references=two_sided(8, 8),
        reference_fraction=0.5,
        max_steps=3,
        learning_rate=0.0,
        rho=0.3,
        task_token_budget=1.0,
    )
    directions = trainer._loop.refresh.directions
    task = torch.ones(trainer._layout.size)
    update, _ = corrected_update(task.clone(), directions, trainer.args, None)
    torch.testing.assert_close(update, task + 0.3 * directions.correction.sum(0), rtol=1e-5, atol=1e-6)
    (step,) = events(trainer, "step")
    rows = trainer._rows["train"]
    places = [rows.ids.index(name) for name in step["ids"]]
    gradients = gradients_of(trainer, [rows.tokens[rows.indices.index(place)] for place in places])
    cosines = torch.nn.functional.cosine_similarity(gradients[:, None], directions.score[None], dim=2)
    torch.testing.assert_close(torch.tensor(step["cosines"]), cosines.amin(1), rtol=1e-4, atol=1e-5)


def test_two_sides_resume_to_the_same_bytes(tmp_path):
    settings = {
        "references": two_sided(8, 8),
        "reference_contrast": "compliance",
        "rho": "auto",
        "max_steps": 8,
        "task_token_budget": "auto",
        "harmless_drop_rate": 0.1,
        "save_strategy": "steps",
        "save_steps": 5,
    }
    whole = trained(tmp_path / "whole", **settings)
    again = small_trainer(tmp_path / "whole", **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    first, second = adapter_of(whole), adapter_of(again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again._loop.dial == whole._loop.dial


@pytest.mark.parametrize("helpful", [0, 8])
def test_the_filter_scores_against_the_whole_pool_without_what_harmless_rows_share(tmp_path, helpful):
    settings = {"task_token_budget": "auto", "reference_contrast": "compliance", "harmless_drop_rate": 0.1}
    trainer = trained(
        tmp_path,
        references=two_sided(8, helpful) if helpful else safe_rows(8),
        max_steps=3,
        learning_rate=0.0,
        **settings,
    )
    pool, found = trainer.pool, trainer._loop.refresh.directions.score
    refusals = [position for position in range(len(pool)) if pool.sides[position] == 0]
    safe = gradients_of(trainer, [pool.rows[position] for position in refusals])
    expected = (safe - gradients_of(trainer, [pool.contrast_rows[position] for position in refusals])).mean(0)
    shared = [trainer._loop.refresh.task_direction]
    if helpful:
        shared.append(gradients_of(trainer, [pool.rows[n] for n in range(len(pool)) if pool.sides[n] == 1]).mean(0))
    basis = torch.linalg.qr(torch.stack(shared).T).Q
    expected = expected - basis @ (basis.T @ expected)
    for direction in shared:
        assert torch.nn.functional.cosine_similarity(found, direction[None]).abs() < 1e-3
    torch.testing.assert_close(found, expected[None], rtol=1e-4, atol=1e-6)
