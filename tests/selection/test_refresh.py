import pytest

from dualselect.selection import refresh_due


def due(schedule, epochs=0, steps=1, cosine=1.0, every=5):
    return refresh_due(
        schedule,
        epochs_since=epochs,
        steps_since=steps,
        every_steps=every,
        direction_cosine=cosine,
        least_cosine=0.5,
    )


@pytest.mark.parametrize("schedule", ["epoch", "steps", "adaptive"])
def test_the_first_is_always_due(schedule):
    assert due(schedule, epochs=None, steps=None)


def test_epoch():
    assert due("epoch", epochs=1)
    assert not due("epoch", epochs=0, steps=1000, cosine=-1.0)


def test_steps():
    assert due("steps", steps=5)
    assert not due("steps", steps=4, epochs=1)


def test_adaptive_waits_for_the_direction_to_turn_and_for_the_fewest_steps():
    assert due("adaptive", steps=5, cosine=0.49)
    assert not due("adaptive", steps=5, cosine=0.51)
    assert not due("adaptive", steps=4, cosine=0.0)
    assert not due("adaptive", steps=9, cosine=None)
