"""The line of a log above the bar."""

from types import SimpleNamespace

from dualselect.system.progress import ShortProgress


def test_shares_are_percentages_and_other_numbers_are_short():
    lines = []
    progress = ShortProgress()
    progress.training_bar = SimpleNamespace(write=lines.append)
    logs = {"loss": 1.23456, "dualselect/kept_fraction": 1.0, "dualselect/kept_token_fraction": 0.904, "epoch": 2}
    progress.on_log(None, SimpleNamespace(global_step=7), None, logs)
    assert lines == ["step 7: loss 1.23, rows kept 100%, tokens kept 90%"]
