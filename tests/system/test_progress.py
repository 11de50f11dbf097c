"""The line that a log leaves above the progress bar."""

from types import SimpleNamespace

from dualselect.system.progress import ShortProgress


def test_shares_are_in_percent_and_other_metrics_are_numbers():
    bar, lines = ShortProgress(), []
    bar.training_bar = SimpleNamespace(write=lines.append)
    logs = {"loss": 1.23456, "dualselect/kept_fraction": 1.0, "dualselect/kept_token_fraction": 0.905, "epoch": 1.0}
    bar.on_log(None, SimpleNamespace(global_step=3), None, logs)
    bar.on_log(None, SimpleNamespace(global_step=4), None, {"epoch": 1.0})
    assert lines == ["step 3: loss 1.23, rows kept 100%, tokens kept 90%"]
