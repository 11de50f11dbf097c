"""Settings of which several are refused: each refusal is found, and what is left is built."""

import pytest

from dualselect.errors import ConfigError
from dualselect.preflight.refusals import Refusals, built, given
from dualselect.training.config import DualSelectConfig


def test_every_refusal_is_found_and_the_others_are_kept():
    values = {"rho": -1.0, "max_length": 64, "task_temperature": 0.0, "fp16": True, "mask_mode": "legacy", "seed": 3}
    refusals = Refusals()
    config = built(DualSelectConfig, values, refusals)
    assert (config.rho, config.max_length, config.fp16, config.mask_mode, config.seed) == (0.2, 64, False, "exact", 3)
    assert len(refusals.messages) == 4
    for part in ("rho is -1.0", "task_temperature is 0.0", "fp16: true", "mask_mode legacy"):
        assert any(message.startswith(part) for message in refusals.messages)


@pytest.mark.parametrize(
    "pair",
    [
        {"task_top_k": 3, "task_token_budget": "0.5"},
        {"task_token_budget": "auto", "reference_gradient": "replay", "reference_contrast": "compliance"},
        {"load_best_model_at_end": True, "eval_strategy": "no", "save_strategy": "steps"},
    ],
)
def test_a_refused_pair_loses_one_value(pair):
    refusals = Refusals()
    built(DualSelectConfig, pair, refusals)
    assert len(refusals.messages) == 1


def test_a_refusal_of_a_library_says_where_it_is_from():
    refusals = Refusals()
    built(DualSelectConfig, {"lr_scheduler_type": "nonsense"}, refusals)
    assert refusals.messages[0].startswith("these settings were refused by transformers or TRL: ")


def test_only_errors_for_the_user_are_collected():
    refusals = Refusals()
    for _ in range(2):
        with refusals.collecting():
            raise ConfigError("once")
    assert refusals.messages == ["once"]
    with pytest.raises(ZeroDivisionError), refusals.collecting():
        1 / 0  # noqa: B018


def test_given_are_the_values_beside_the_defaults():
    assert given(DualSelectConfig, {"rho": 0.2, "seed": 7, "unknown": 1}) == {"seed": 7}
