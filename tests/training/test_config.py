"""Every setting that cannot be run is refused with its name and what to write instead."""

import pytest
from trl import SFTConfig, TrlParser

from dualselect import DualSelectConfig
from dualselect.errors import ConfigError


def config(**settings):
    return DualSelectConfig("unused", **({"use_cpu": True} | settings))


def test_defaults_are_the_papers_but_for_those_that_are_documented():
    default = config()
    assert default.selection_mode == "hard"
    assert (default.reference_fraction, default.rho) == (0.1, 0.2)
    assert (default.planned_warmup_steps(), default.reference_refresh, default.correction) == (10, "epoch", "add")
    assert (default.learning_rate, default.weight_decay, default.max_grad_norm) == (2e-5, 0.0, 1.0)
    assert default.max_length == 2048
    assert (default.preservation_loss, default.task_budget_scope) == ("excess", "run")
    assert (default.task_token_budget, default.reference_contrast, default.reference_sides) == (
        "auto",
        "compliance",
        "auto",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task_token_budget": -0.5}, "task_token_budget is -0.5"),
        ({"task_token_budget": 0}, "task_token_budget is 0"),
        ({"task_token_budget": 1.5}, "task_token_budget is 1.5"),
        ({"task_token_budget": "half"}, "task_token_budget is 'half'.* write for example 0.9"),
        ({"task_token_budget": "nan"}, "task_token_budget is nan"),
        ({"harmless_drop_rate": 0}, r"harmless_drop_rate is 0: it must be in \(0, 1\)"),
        ({"reference_slack": -1.0}, "reference_slack is -1.0: it must be 0 or more"),
        (
            {"task_token_budget": "auto", "reference_contrast": "compliance", "reference_gradient": "replay"},
            "write reference_gradient: frozen",
        ),
        ({"task_top_k": 0}, "task_top_k is 0"),
        ({"task_top_k": 4, "task_token_budget": 0.5}, "both set how much to keep"),
        ({"reference_top_k": 0}, "reference_top_k is 0"),
        ({"reference_fraction": 0.0}, r"reference_fraction is 0.0: it must be in \(0, 1\]"),
        ({"reference_fraction": 1.1}, "reference_fraction is 1.1"),
        ({"reference_batch_size": 0}, "reference_batch_size is 0"),
        ({"reference_refresh": "daily"}, "write one of epoch, steps, adaptive"),
        ({"reference_refresh_steps": 0}, "reference_refresh_steps is 0"),
        ({"reference_refresh_cosine": 2.0}, "reference_refresh_cosine is 2.0"),
        ({"selection_warmup_steps": -1}, "selection_warmup_steps is -1"),
        ({"task_temperature": 0.0}, "task_temperature is 0.0: it must be above 0"),
        ({"reference_temperature": -1.0}, "reference_temperature is -1.0"),
        ({"conflict_weight": float("nan")}, "conflict_weight is nan"),
        ({"rho": float("inf")}, "rho is inf"),
        ({"rho": -0.1}, "correction none turns it off"),
        ({"reference_replay_size": 0}, "reference_replay_size is 0"),
        ({"preservation_loss": "mse"}, "write one of excess, ce, kl"),
        ({"mask_mode": "legacy"}, "prompt_format: human_assistant or mask_mode: exact"),
        ({"padding_free": True, "pad_to_multiple_of": 8}, "Use no pad_to_multiple_of"),
        ({"packing": True, "pad_to_multiple_of": 8}, "packing: true with pad_to_multiple_of: 8"),
        ({"packing": True, "packing_strategy": "bfd_split"}, "it cuts examples in parts. Use packing_strategy: bfd"),
        ({"eval_packing": True, "packing_strategy": "wrapped"}, "packing_strategy: wrapped cannot be used"),
        ({"packing": True, "max_length": None}, "Use a number for max_length"),
        ({"eval_packing": True}, "eval_packing: true with packing: false"),
        ({"torch_compile": True}, "Use torch_compile: false"),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": True}}, "{use_reentrant: false}"),
        ({"loss_type": "dft"}, "Use loss_type: nll"),
        ({"label_smoothing_factor": 0.1}, "Use label_smoothing_factor: 0"),
        ({"neftune_noise_alpha": 5.0}, "Use no neftune_noise_alpha"),
        ({"use_liger_kernel": True}, "Use use_liger_kernel: false"),
        ({"auto_find_batch_size": True}, "Use a fixed batch size"),
        ({"optim": "adalomo"}, "Use optim: adamw_torch"),
        ({"optim": "galore_adamw_layerwise"}, "optim: galore_adamw_layerwise .*Use optim: adamw_torch"),
        ({"torch_compile_backend": "inductor"}, "torch_compile_backend or torch_compile_mode cannot"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings)


def test_fp16_is_refused():
    with pytest.raises((ConfigError, ValueError), match="fp16"):
        config(fp16=True)


def test_every_own_setting_has_a_help_text_that_the_parser_can_show(capsys):
    own = set(DualSelectConfig.__annotations__) - set(SFTConfig.__dataclass_fields__)
    assert len(own) >= 25
    for name in own:
        assert len(DualSelectConfig.__dataclass_fields__[name].metadata["help"]) > 30, name
    with pytest.raises(SystemExit):
        TrlParser((DualSelectConfig,)).parse_args_and_config(["--help"])
    assert "--reference_contrast {none,compliance,rejected}" in capsys.readouterr().out


def test_the_parser_reads_numbers_and_words():
    (parsed,) = TrlParser((DualSelectConfig,)).parse_args_and_config(
        ["--output_dir", "x", "--task_token_budget", "auto", "--reference_contrast", "compliance", "--use_cpu"]
    )
    assert (parsed.task_token_share, parsed.reference_contrast) == (None, "compliance")
