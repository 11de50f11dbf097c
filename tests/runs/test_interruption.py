"""Signals while training."""

import os
import signal

import pytest
from transformers import TrainerControl

from dualselect.runs.interruption import Interruption


def test_the_first_signal_asks_for_a_checkpoint_and_the_end(capfd):
    control = TrainerControl()
    with Interruption() as interruption:
        interruption.on_step_end(None, None, control)
        assert not control.should_save
        os.kill(os.getpid(), signal.SIGTERM)
        interruption.on_step_end(None, None, control)
    assert interruption.received == signal.SIGTERM
    assert control.should_save
    assert control.should_training_stop
    assert "Ctrl-C again" in capfd.readouterr().err


def test_the_second_signal_ends_at_once_and_the_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interruption():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
