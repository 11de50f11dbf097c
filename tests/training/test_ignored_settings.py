"""Which settings of a training are told as not followed by plain steps."""

import pytest

from dualselect import DualSelectConfig
from dualselect.training.ignored_settings import OF_PLAIN_STEPS, tell_not_followed


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, []),
        ({"optim": "adamw_torch", "lr_scheduler_type": "constant", "warmup_steps": 0}, []),
        ({"optim": "adafactor"}, ["optim: adafactor is not followed by a test: every update is a step of AdamW"]),
        ({"lr_scheduler_type": "linear"}, ["lr_scheduler_type: linear is not followed by a test: learning_rate is"]),
        ({"warmup_steps": 3}, []),  # of a constant schedule
        (
            {"warmup_steps": 3, "lr_scheduler_type": "constant_with_warmup"},
            ["warmup_steps: 3 is not followed by a test: learning_rate is constant"],
        ),
    ],
)
def test_what_would_change_something_is_told(tmp_path, caplog, settings, said):
    config = DualSelectConfig(str(tmp_path), use_cpu=True, report_to="none", **settings)
    tell_not_followed(config, OF_PLAIN_STEPS, "a test")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(said)
    assert all(line.startswith(text) for text, line in zip(said, told, strict=True))
