"""metrics.jsonl."""

import json
import math

from transformers import TrainerState

from dualselect.runs.metrics_log import MetricsLog


def test_a_new_run_begins_a_new_file_and_a_resumed_one_goes_on(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (10, 20):
        log.on_log(None, TrainerState(global_step=step), None, {"loss": 1.0})
    log.on_train_begin(None, TrainerState(global_step=20), None)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [10, 20]
    log.on_train_begin(None, TrainerState(global_step=0), None)
    assert not log.path.exists()


def test_a_number_that_json_cannot_say_is_null(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.on_log(None, TrainerState(global_step=1), None, {"grad_norm": math.nan, "loss": 2.0})
    assert json.loads(log.path.read_text()) == {"step": 1, "grad_norm": None, "loss": 2.0}
