"""Checks of values and combinations of settings. The messages give the reason and a valid alternative."""

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from transformers.training_args import OptimizerNames

from dualselect.errors import ConfigError


if TYPE_CHECKING:
    from dualselect.training.config import DualSelectConfig


WHOLE_MODEL = (
    "torchrun, which starts several processes that each hold the whole model (DDP); load_in_4bit and "
    "gradient_checkpointing make room"
)


EXAMPLES = {"task_token_budget": ("a share in (0, 1]", 0.9), "rho": ("a number, 0 or more,", 0.2)}


def number_or_auto(name: str, value: Any) -> float:
    """The value of a setting that is not `auto`, as a number.

    Raises:
        ConfigError: It is not a number.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        wanted, example = EXAMPLES[name]
        raise ConfigError(f"{name} is {value!r}: it must be {wanted} or `auto`; write for example {example}") from None


def check_choices(config: "DualSelectConfig") -> None:
    """Reject a value that is not one of the choices of its setting.

    Raises:
        ConfigError: The message lists the choices.
    """
    for setting in fields(config):
        choices = get_args(setting.type) if get_origin(setting.type) is Literal else ()
        value = getattr(config, setting.name)
        if choices and value not in choices:
            raise ConfigError(f"{setting.name} is {value!r}: write one of {', '.join(map(str, choices))}")


def check_ranges(config: "DualSelectConfig") -> None:
    """Reject values that are out of range or mutually exclusive.

    Raises:
        ConfigError: The message gives the range, or what to write instead.
    """
    finite = [
        "reference_loss_weight",
        "task_loss_weight",
        "conflict_weight",
        "rho",
        "reference_temperature",
        "task_temperature",
        "reference_fraction",
        "reference_refresh_cosine",
        "max_shared_references",
    ]
    for name in finite:
        value = getattr(config, "fixed_rho" if name == "rho" else name)
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"{name} is {value}: it must be a finite number")
    ranges: list[tuple[str, Any, bool, str]] = [
        (
            "max_nonfinite_fraction",
            config.max_nonfinite_fraction,
            0 <= config.max_nonfinite_fraction <= 1,
            "in [0, 1]",
        ),
        ("max_shared_references", config.max_shared_references, 0 <= config.max_shared_references <= 1, "in [0, 1]"),
        ("reference_fraction", config.reference_fraction, 0 < config.reference_fraction <= 1, "in (0, 1]"),
        ("reference_refresh_steps", config.reference_refresh_steps, config.reference_refresh_steps >= 1, "1 or more"),
        (
            "reference_refresh_cosine",
            config.reference_refresh_cosine,
            -1 <= config.reference_refresh_cosine <= 1,
            "in [-1, 1]",
        ),
        ("reference_temperature", config.reference_temperature, config.reference_temperature > 0, "above 0"),
        ("task_temperature", config.task_temperature, config.task_temperature > 0, "above 0"),
        ("reference_loss_weight", config.reference_loss_weight, config.reference_loss_weight >= 0, "0 or more"),
        ("task_loss_weight", config.task_loss_weight, config.task_loss_weight >= 0, "0 or more"),
        ("conflict_weight", config.conflict_weight, config.conflict_weight >= 0, "0 or more"),
        (
            "rho",
            config.rho,
            config.fixed_rho is None or config.fixed_rho >= 0,
            "0 or more (correction none turns it off), or `auto`",
        ),
        ("reference_slack", config.reference_slack, 0 <= config.reference_slack < math.inf, "0 or more"),
        ("harmless_drop_rate", config.harmless_drop_rate, 0 < config.harmless_drop_rate < 1, "in (0, 1)"),
        ("reference_replay_size", config.reference_replay_size, config.reference_replay_size >= 1, "1 or more"),
    ]
    warmup = config.selection_warmup_steps
    ranges.append(("selection_warmup_steps", warmup, warmup is None or warmup >= 0, "0 or more, or left out"))
    for name in ("reference_top_k", "task_top_k", "reference_batch_size"):
        value = getattr(config, name)
        ranges.append((name, value, value is None or value >= 1, "1 or more, or left out"))
    share = config.task_token_share
    ranges.append(("task_token_budget", share, share is None or 0 < share <= 1, "in (0, 1], or `auto`"))
    for name, value, good, wanted in ranges:
        if not good:
            raise ConfigError(f"{name} is {value}: it must be {wanted}")
    _check_combinations(config)


def _check_combinations(config: "DualSelectConfig") -> None:
    if config.task_top_k is not None and config.task_token_budget != type(config).task_token_budget:
        raise ConfigError(
            f"task_top_k {config.task_top_k} and task_token_budget {config.task_token_budget} both set how much to "
            "keep: leave one out"
        )
    if config.filters_by_conflict and config.reference_gradient == "replay":
        raise ConfigError(
            "task_token_budget: auto sets its threshold for the direction of the last refresh, but "
            "reference_gradient: replay scores with a different direction: write reference_gradient: frozen, or a "
            "number for task_token_budget"
        )
    if config.fixed_rho is None and config.correction not in ("add", "project_add"):
        raise ConfigError(
            f"rho: auto sets the strength of the added direction, but correction: {config.correction} adds none: "
            "write correction: add, or leave rho out"
        )
    if config.mask_mode == "legacy" and config.prompt_format != "human_assistant":
        raise ConfigError(
            f"mask_mode legacy with prompt_format {config.prompt_format}: the published mask is defined for "
            "human_assistant text only; write prompt_format: human_assistant or mask_mode: exact"
        )


def check_supported(config: "DualSelectConfig") -> None:
    """Reject settings for which the scored loss differs from the trained loss, or a row is not one example."""
    checkpointing = config.gradient_checkpointing_kwargs or {}
    refused = [
        (
            (config.packing or config.eval_packing) and config.packing_strategy != "bfd",
            f"packing_strategy: {config.packing_strategy}",
            "it cuts examples in parts",
            "packing_strategy: bfd",
        ),
        (
            (config.packing or config.eval_packing) and config.max_length is None,
            "packing: true with max_length: null",
            "max_length is the length of a packed row",
            "a number for max_length",
        ),
        (
            config.eval_packing and not (config.packing or config.padding_free),
            "eval_packing: true with packing: false",
            "evaluation rows would be packed in padded batches",
            "packing: true, or leave eval_packing out",
        ),
        (
            (config.padding_free or config.packing) and config.pad_to_multiple_of,
            f"{'packing' if config.packing else 'padding_free'}: true with pad_to_multiple_of: "
            f"{config.pad_to_multiple_of}",
            "a padding token would count as an example",
            "no pad_to_multiple_of",
        ),
        (
            config.gradient_checkpointing and checkpointing.get("use_reentrant"),
            "gradient_checkpointing_kwargs: {use_reentrant: true}",
            "reentrant checkpoints hide the layers from the taps",
            "gradient_checkpointing_kwargs: {use_reentrant: false}",
        ),
        (
            config.loss_type != "nll",
            f"loss_type: {config.loss_type}",
            "scores use the cross-entropy loss",
            "loss_type: nll",
        ),
        (
            config.label_smoothing_factor,
            f"label_smoothing_factor: {config.label_smoothing_factor}",
            "the scored loss would not be the trained one",
            "label_smoothing_factor: 0",
        ),
        (
            config.neftune_noise_alpha,
            f"neftune_noise_alpha: {config.neftune_noise_alpha}",
            "noise in the embeddings would enter the scores",
            "no neftune_noise_alpha",
        ),
        (config.use_liger_kernel, "use_liger_kernel: true", "fused layers bypass the taps", "use_liger_kernel: false"),
        (
            config.auto_find_batch_size,
            "auto_find_batch_size: true",
            "each step is one selection",
            "a fixed batch size",
        ),
        (
            config.optim in (OptimizerNames.LOMO, OptimizerNames.ADALOMO) or "layerwise" in str(config.optim.value),
            f"optim: {config.optim.value}",
            "it updates during the backward pass, before anything is selected",
            "optim: adamw_torch",
        ),
        (
            config.truncation_mode != "keep_start",
            f"truncation_mode: {config.truncation_mode}",
            "it cuts the prompt that a response belongs to",
            "truncation_mode: keep_start",
        ),
    ]
    _refuse(refused)


def check_backends(config: "DualSelectConfig") -> None:
    """Reject settings that transformers sets up globally or checks against the GPU when settings are created."""
    _refuse(
        [
            (config.fp16, "fp16: true", "its loss scaling would rescale the stored gradients", "bf16: true"),
            (
                config.bf16_full_eval or config.fp16_full_eval,
                "bf16_full_eval or fp16_full_eval",
                "the model would stay off the GPU until training begins",
                "bf16: true, which also evaluates in bfloat16",
            ),
            (config.torch_compile, "torch_compile: true", "compiled graphs bypass the taps", "torch_compile: false"),
            (
                config.torch_compile_backend or config.torch_compile_mode,
                "torch_compile_backend or torch_compile_mode",
                "compiled graphs bypass the taps",
                "neither",
            ),
            (config.deepspeed, "deepspeed", "it owns the selected gradients", WHOLE_MODEL),
            (config.fsdp, "fsdp", "each process must hold the whole model", WHOLE_MODEL),
            (
                config.parallelism_config,
                "parallelism_config",
                "each process must hold the whole model and whole rows",
                WHOLE_MODEL,
            ),
        ]
    )


def _refuse(settings: list[tuple[Any, str, str, str]]) -> None:
    """Reject the first setting that is in use. Each entry: in use, what was seen, the reason, the alternative."""
    for given, what, why, instead in settings:
        if given:
            raise ConfigError(f"{what} cannot be used with DualSelect: {why}. Use {instead}.")
