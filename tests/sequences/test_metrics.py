"""Metrics of a sequence, against a matrix that was worked out by hand."""

import pytest

from dualselect.sequences.metrics import sequence_metrics


# rows: after task 0, 1, 2; columns: score on task 0, 1, 2
MATRIX = [[80.0, 10.0, 5.0], [60.0, 70.0, 15.0], [50.0, 75.0, 90.0]]


def test_the_metrics_of_a_matrix_worked_out_by_hand():
    found = sequence_metrics(MATRIX, alone=[82.0, 65.0, 91.0])
    assert found.average == pytest.approx((50 + 75 + 90) / 3)
    assert found.backward_transfer == pytest.approx(((50 - 80) + (75 - 70)) / 2)  # over T - 1 tasks, not T
    assert found.forgetting == pytest.approx(((80 - 50) + (70 - 75)) / 2)
    assert found.forward_transfer == pytest.approx(((70 - 65) + (90 - 91)) / 2)


def test_forgetting_is_from_the_best_score_of_any_earlier_time():
    matrix = [[50.0, 0.0, 0.0], [70.0, 60.0, 0.0], [40.0, 60.0, 80.0]]
    assert sequence_metrics(matrix).forgetting == pytest.approx(((70 - 40) + 0) / 2)
    assert sequence_metrics(matrix).backward_transfer == pytest.approx(((40 - 50) + 0) / 2)


def test_one_task_forgets_nothing():
    found = sequence_metrics([[42.0]], alone=[40.0])
    assert (found.average, found.backward_transfer, found.forgetting, found.forward_transfer) == (
        42.0,
        None,
        None,
        None,
    )


def test_without_single_task_runs_there_is_no_forward_transfer():
    assert sequence_metrics(MATRIX).forward_transfer is None


@pytest.mark.parametrize(("matrix", "alone"), [([], None), ([[1.0, 2.0]], None), (MATRIX, [1.0])])
def test_shapes_are_checked(matrix, alone):
    with pytest.raises(ValueError, match="needs|need"):
        sequence_metrics(matrix, alone)
