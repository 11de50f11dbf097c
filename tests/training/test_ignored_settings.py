"""Training settings that plain steps ignore."""

import pytest

from dualselect import DualSelectConfig
from dualselect.training.ignored_settings import IGNORED_BY_PLAIN_STEPS, warn_ignored


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, []),
        ({"optim": "adamw_torch", "lr_scheduler_type": "constant", "warmup_steps": 0}, []),
        ({"optim": "adafactor"}, ["optim: adafactor is ignored by a test: every update is a step of AdamW"]),
        ({"lr_scheduler_type": "linear"}, ["lr_scheduler_type: linear is ignored by a test: learning_rate is"]),
        ({"warmup_steps": 3}, []),  # of a constant schedule
        (
            {"warmup_steps": 3, "lr_scheduler_type": "constant_with_warmup"},
            ["warmup_steps: 3 is ignored by a test: learning_rate is constant"],
        ),
    ],
)
def test_what_would_change_something_is_told(tmp_path, caplog, settings, said):
    config = DualSelectConfig(str(tmp_path), use_cpu=True, report_to="none", **settings)
    warn_ignored(config, IGNORED_BY_PLAIN_STEPS, "a test")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(said)
    assert all(line.startswith(text) for text, line in zip(said, told, strict=True))
