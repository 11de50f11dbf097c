"""The scores as functions of numbers alone."""

import numpy as np
import pytest

from dualselect.auditing.scores import NUMBERS, SCORES, Calibration


def numbers(count, seed=0, **given):
    chance = np.random.default_rng(seed)
    found = {name: chance.normal(0, 0.2, count) for name in NUMBERS} | {
        "categories": chance.normal(0, 0.2, (count, 3))
    }
    return found | {name: np.asarray(values, dtype=float) for name, values in given.items()}


def calibration(**weights):
    safe, unsafe = numbers(30, 1), numbers(30, 2)
    unsafe["contrast_cosine"] = unsafe["contrast_cosine"] - 1
    return Calibration(safe, unsafe, numbers(10, 3), **weights)


def test_published_is_the_papers_task_score():
    rows = numbers(2, loss=[1.0, 2.0], cosine=[0.5, -0.5])
    assert SCORES["published"].of(rows, calibration(loss_weight=2.0, conflict_weight=3.0)).tolist() == [0.5, 5.5]


NO_CONFLICT = {name: [0, 0] for name in ("loss", "contrast_cosine", "opening_loss", "answer_loss")}
ALIKE = {name: [0, 0] for name in ("loss", "control_loss", "complied_loss")}


@pytest.mark.parametrize(
    ("score", "given", "higher"),
    [
        ("loss", {"loss": [0.1, 2.0]}, 1),
        ("cosine", {"cosine": [-0.5, 0.5]}, 0),
        ("safe", {"safe_cosine": [-0.5, 0.5]}, 0),
        ("contrast", {"contrast_cosine": [-0.5, 0.5]}, 0),
        ("harmless_free", {"harmless_free_cosine": [-0.5, 0.5]}, 0),
        ("nearest", {"nearest_unsafe": [0.9, 0.9], "nearest_safe": [0.1, 0.5]}, 0),
        ("categories", {"categories": [[0.5, -0.9, 0.5], [0.0, 0.0, 0.0]]}, 0),
        ("opening", {"opening_loss": [1.0, 4.0], "answer_loss": [2.0, 1.0]}, 1),
        ("tuned", {"control_loss": [3.0, 3.0], "complied_loss": [2.0, 1.0]}, 1),
        ("standardized_tuned", ALIKE | {"loss": [0.0, 1.0]}, 1),
        ("standardized_tuned", ALIKE | {"complied_loss": [1.0, 0.0]}, 1),
        ("standardized", NO_CONFLICT | {"loss": [0.0, 1.0]}, 1),
        ("standardized", NO_CONFLICT | {"opening_loss": [0.0, 1.0]}, 1),
        ("standardized_gradients", {"loss": [0, 0], "safe_cosine": [0.0, -1.0], "contrast_cosine": [0, 0]}, 1),
    ],
)  # fmt: skip
def test_the_row_in_conflict_scores_higher(score, given, higher):
    found = SCORES[score].of(numbers(2, **given), calibration())
    assert found.argmax() == higher


def test_every_score_has_a_value_for_every_row_and_depends_on_no_other_row():
    rows = numbers(8, 7)
    first = {name: values[:3] for name, values in rows.items()}
    for score in SCORES.values():
        found = score.of(rows, calibration())
        assert found.shape == (8,)
        assert np.isfinite(found).all()
        assert score.of(first, calibration()) == pytest.approx(found[:3])


@pytest.mark.parametrize("name", ["calibrated", "calibrated_pool"])
def test_calibrated_learns_from_the_pool_which_number_tells_the_two_apart(name):
    """Of these pools, the cosine to the contrast direction alone does."""
    known, score = calibration(), SCORES[name].of
    assert score(known.unsafe, known).mean() > 1 > -1 > score(known.safe, known).mean()
    calm = {number: np.zeros(2) for number in NUMBERS} | {"categories": np.zeros((2, 3))}
    risky, harmless = score(calm | {"contrast_cosine": np.array([-1.0, 0.0])}, known)
    assert risky > 0 > harmless


def test_harmless_rows_count_as_compatible_where_they_are_asked():
    known = calibration()
    known.harmless["contrast_cosine"] -= 1  # harmless conversation looks as the contrasts do
    row = numbers(1, contrast_cosine=[-1.0])
    assert SCORES["calibrated"].of(row, known) < SCORES["calibrated_pool"].of(row, known)


def test_a_pool_whose_rows_are_all_alike_calibrates_too():
    same = {name: np.full_like(values, 0.1) for name, values in numbers(5).items()}
    alike = Calibration(same, same, same)
    for name in ("standardized", "standardized_gradients", "calibrated", "calibrated_pool"):
        assert np.isfinite(SCORES[name].of(numbers(4), alike)).all()
