"""Every setting of a DualSelect run, with the help text that the command line and the docs show."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin

from transformers.training_args import OptimizerNames
from trl import SFTConfig

from dualselect.errors import ConfigError
from dualselect.models.precision import has_bfloat16_gpu
from dualselect.training.resume_rule import CHANGEABLE


DEFAULT_WARMUP_STEPS = 10


@dataclass
class DualSelectConfig(SFTConfig):
    """Settings of `DualSelectTrainer`: everything of `trl.SFTConfig`, and the knobs of the method.

    Symbols are those of arXiv 2606.09866; defaults are the paper's setting, with these departures: `preservation_loss`
    is `excess`, `task_budget_scope` is `run`, short runs have a shorter warm-up (see the help of each), and `bf16` is
    on only where a GPU supports it.

    These defaults differ from `SFTConfig`: `max_length` 2048, `lr_scheduler_type` constant, `bf16` only on a GPU.

    Raises:
        ConfigError: A value is out of range, or a setting cannot be combined with per-example gradients. The message
            names the setting, why it is refused and what to write instead.
    """

    # Overridden defaults of SFTConfig
    max_length: int | None = field(
        default=2048,
        metadata={"help": "Longest tokenized row, in tokens; longer rows keep their first tokens. None: no limit."},
    )
    lr_scheduler_type: str = field(
        default="constant", metadata={"help": "Learning-rate schedule; the paper keeps it constant."}
    )
    bf16: bool | None = field(
        default=None,
        metadata={"help": "Mixed precision in bfloat16. Not set: on where a GPU supports it, off on a CPU."},
    )

    # Rows and tokens
    prompt_format: Literal["chat", "human_assistant"] = field(
        default="chat",
        metadata={
            "help": "How a conversation becomes text: `chat`, the chat template of the model; `human_assistant`, "
            "the plain 'Human: ... Assistant: ...' lines of the paper's scripts, for models without a template."
        },
    )
    mask_mode: Literal["exact", "legacy"] = field(
        default="exact",
        metadata={
            "help": "Which tokens are supervised: `exact`, every response token; `legacy`, all but the first, as "
            "published scripts do by mistake. Legacy is for replication only and needs prompt_format human_assistant."
        },
    )
    allow_prompt_overlap: bool = field(
        default=False,
        metadata={
            "help": "Accept prompts that stand in both the task data and the reference pool. Otherwise an error: "
            "such references protect prompts that the task teaches differently. In a comparison also: rows whose "
            "prompts are measured."
        },
    )

    # Warm-up
    selection_warmup_steps: int | None = field(
        default=None,
        metadata={
            "help": "Ordinary task-only optimizer steps before the first reference refresh; they set the first task "
            "direction and count towards max_steps. Not set: 10 (the paper), or a fifth of a run of fewer than 50 "
            "steps. (warmup_steps is the learning-rate warm-up of transformers.)"
        },
    )

    # Reference selection
    reference_top_k: int | None = field(
        default=None,
        metadata={"help": "Number of references kept at a refresh. Not set: reference_fraction decides."},
    )
    reference_fraction: float = field(
        default=0.1, metadata={"help": "Share of the reference pool kept at a refresh, rounded up; in (0, 1]."}
    )
    preservation_loss: Literal["excess", "ce", "kl"] = field(
        default="excess",
        metadata={
            "help": "What counts as badly preserved: `excess`, response cross-entropy now minus at the start of "
            "training, so what has been lost; `ce`, cross-entropy itself (the paper), which prefers responses that "
            "the model never predicted well; `kl`, KL(start || now) on the response tokens, LoRA only."
        },
    )
    reference_contrast: Literal["none", "compliance", "rejected"] = field(
        default="none",
        metadata={
            "help": "What is subtracted from a reference's gradient for scoring: `none`; `compliance`, the gradient "
            "of a content-free compliance with the same prompt; `rejected`, that of the row's own rejected response. "
            "The correction always uses the safe response alone. Doubles the cost of a refresh."
        },
    )
    reference_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the preservation loss in the reference score (paper: mu_r)."}
    )
    reference_temperature: float = field(
        default=0.1, metadata={"help": "Entropy temperature of soft reference weights (paper: tau_r)."}
    )
    reference_batch_size: int | None = field(
        default=None,
        metadata={"help": "References scored in one forward-backward. Not set: per_device_train_batch_size."},
    )

    # Reference refresh
    reference_refresh: Literal["epoch", "steps", "adaptive"] = field(
        default="epoch",
        metadata={
            "help": "When the references are chosen anew, after the first time: `epoch`, at the start of each epoch; "
            "`steps`, every reference_refresh_steps; `adaptive`, when the cosine of the task direction to that of the "
            "last refresh falls under reference_refresh_cosine."
        },
    )
    reference_refresh_steps: int = field(
        default=50,
        metadata={"help": "Optimizer steps between refreshes (steps); the fewest between two refreshes (adaptive)."},
    )
    reference_refresh_cosine: float = field(
        default=0.5, metadata={"help": "Cosine under which an adaptive refresh is due; in [-1, 1]."}
    )

    # Task selection
    selection_mode: Literal["hard", "soft"] = field(
        default="hard",
        metadata={
            "help": "`hard`: the examples and references kept weigh the same; `soft`: entropy-regularized weights, "
            "softmax of the scores over temperature, renormalized over those kept."
        },
    )
    task_token_budget: str = field(  # a number or a word: the parser of transformers has no type for both
        default="0.9",
        metadata={
            "help": "Share of the supervised tokens to learn from, in (0, 1]: the lowest-scored whole examples are "
            "kept until they reach it; see task_budget_scope. `auto`: drop the examples whose gradient is nearer to "
            "that of unsafe answers than to that of safe ones, however many those are; needs a reference_contrast."
        },
    )
    task_budget_scope: Literal["run", "step"] = field(
        default="run",
        metadata={
            "help": "What task_token_budget is a share of: `run`, of all selection steps, so that 0.9 keeps nine "
            "tenths of the tokens (what a step keeps beyond its share is taken off the next; each keeps at least one "
            "example); "
            "`step`, of each step, where the example that crosses the line is kept (the paper): with few rows in a "
            "step this drops little or nothing."
        },
    )
    task_top_k: int | None = field(
        default=None,
        metadata={"help": "Examples kept of each optimizer step, in place of task_token_budget."},
    )
    task_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the loss in the task score (paper: mu_t)."}
    )
    task_temperature: float = field(
        default=0.1, metadata={"help": "Entropy temperature of soft task weights (paper: tau_t)."}
    )
    conflict_weight: float = field(
        default=1.0, metadata={"help": "Weight of the gradient conflict in both scores (paper: nu)."}
    )

    max_nonfinite_fraction: float = field(
        default=0.1,
        metadata={
            "help": "Largest share of the rows of the run, in [0, 1], whose loss or gradient may be NaN or infinite. "
            "Such rows are taken out of their step, logged and counted. Beyond the share, or when all rows of a step "
            "are bad, the run stops."
        },
    )

    # Gradient correction
    correction: Literal["add", "project", "project_add", "none"] = field(
        default="add",
        metadata={
            "help": "What the references do to the update: `add`, add rho times the reference direction (paper); "
            "`project`, remove the part of the update that opposes it; `project_add`, both; `none`."
        },
    )
    rho: float = field(
        default=0.2,
        metadata={"help": "Strength of the added reference direction: the dial between safety (up) and task (down)."},
    )
    rho_mode: Literal["absolute", "relative"] = field(
        default="absolute",
        metadata={
            "help": "`absolute`: rho times the reference direction (paper); `relative`: the direction is first scaled "
            "to the norm of the task gradient, so that rho means the same for every model and pool."
        },
    )
    reference_gradient: Literal["frozen", "replay"] = field(
        default="frozen",
        metadata={
            "help": "Reference direction between refreshes: `frozen`, as it was at the refresh (paper, no cost); "
            "`replay`, recomputed at each step on reference_replay_size of the selected references."
        },
    )
    reference_replay_size: int = field(
        default=4, metadata={"help": "Selected references drawn per step when reference_gradient is replay."}
    )

    # Engine
    gradient_engine: Literal["taps", "sequential"] = field(
        default="taps",
        metadata={
            "help": "Per-example gradients: `taps`, one batched forward and backward, for linear layers (LoRA); "
            "`sequential`, one example at a time, for anything trainable, and slower."
        },
    )

    def __post_init__(self) -> None:
        if self.bf16 is None:
            self.bf16 = not self.fp16 and not self.use_cpu and has_bfloat16_gpu()
        super().__post_init__()
        self.task_token_budget = str(self.task_token_budget)
        _check_choices(self)
        _check_ranges(self)
        _check_supported(self)

    @property
    def task_token_share(self) -> float | None:
        """`task_token_budget` as a number in (0, 1]; None when it is `auto`."""
        return None if self.task_token_budget == "auto" else _number(self.task_token_budget)

    def planned_warmup_steps(self, steps: int | None = None) -> int:
        """Warm-up steps of the selection in a run of `steps` optimizer steps; None for a run of unknown length."""
        if self.selection_warmup_steps is not None:
            return self.selection_warmup_steps
        return DEFAULT_WARMUP_STEPS if steps is None else min(DEFAULT_WARMUP_STEPS, max(1, steps // 5), steps - 1)

    @property
    def method_settings(self) -> dict[str, Any]:
        """The settings of the method that must not change when a run is resumed, by name."""
        own = set(DualSelectConfig.__annotations__) - set(SFTConfig.__dataclass_fields__) - CHANGEABLE
        return {name: getattr(self, name) for name in sorted(own)}

    @property
    def reference_micro_batch_size(self) -> int:
        """References per forward-backward during a refresh."""
        return self.reference_batch_size or self.per_device_train_batch_size


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"task_token_budget is {text!r}: it must be a share in (0, 1] or `auto`; write for example 0.9"
        ) from None


def _check_choices(config: DualSelectConfig) -> None:
    for setting in fields(DualSelectConfig):
        choices = get_args(setting.type) if get_origin(setting.type) is Literal else ()
        value = getattr(config, setting.name)
        if choices and value not in choices:
            raise ConfigError(f"{setting.name} is {value!r}: write one of {', '.join(map(str, choices))}")


def _check_ranges(config: DualSelectConfig) -> None:
    finite = [
        "reference_loss_weight",
        "task_loss_weight",
        "conflict_weight",
        "rho",
        "reference_temperature",
        "task_temperature",
        "reference_fraction",
        "reference_refresh_cosine",
    ]
    for name in finite:
        if not math.isfinite(getattr(config, name)):
            raise ConfigError(f"{name} is {getattr(config, name)}: it must be a finite number")
    ranges: list[tuple[str, Any, bool, str]] = [
        (
            "max_nonfinite_fraction",
            config.max_nonfinite_fraction,
            0 <= config.max_nonfinite_fraction <= 1,
            "in [0, 1]",
        ),
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
        ("rho", config.rho, config.rho >= 0, "0 or more (correction none turns it off)"),
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
    if config.task_top_k is not None and config.task_token_budget != DualSelectConfig.task_token_budget:
        raise ConfigError(
            f"task_top_k {config.task_top_k} and task_token_budget {config.task_token_budget} both say how much to "
            "keep: leave one out"
        )
    if config.task_token_share is None and config.reference_contrast == "none":
        raise ConfigError(
            "task_token_budget: auto tells conflict by a contrast of safe and unsafe answers, and reference_contrast "
            "is none: write reference_contrast: compliance (or rejected, if the pool has such answers)"
        )
    if config.task_token_share is None and config.reference_gradient == "replay":
        raise ConfigError(
            "task_token_budget: auto has a threshold of the direction at the refresh, and reference_gradient: replay "
            "scores by another one: write reference_gradient: frozen, or a number for task_token_budget"
        )
    if config.mask_mode == "legacy" and config.prompt_format != "human_assistant":
        raise ConfigError(
            f"mask_mode legacy with prompt_format {config.prompt_format}: the published mask is defined for "
            "human_assistant text only; write prompt_format: human_assistant or mask_mode: exact"
        )


def _check_supported(config: DualSelectConfig) -> None:
    """Refuse what would make the scored loss another than the trained loss, or a row another thing than an example."""
    checkpointing = config.gradient_checkpointing_kwargs or {}
    refused = [
        (config.packing, "packing: true", "a packed row is not one example", "packing: false"),
        (config.eval_packing, "eval_packing: true", "a packed row is not one example", "eval_packing: false"),
        (config.padding_free, "padding_free: true", "examples of a batch must stay apart", "padding_free: false"),
        (config.fp16, "fp16: true", "its loss scaling would rescale the stored gradients", "bf16: true"),
        (config.torch_compile, "torch_compile: true", "compiled graphs bypass the taps", "torch_compile: false"),
        (
            config.gradient_checkpointing and checkpointing.get("use_reentrant"),
            "gradient_checkpointing_kwargs: {use_reentrant: true}",
            "reentrant checkpoints hide the layers from the taps",
            "gradient_checkpointing_kwargs: {use_reentrant: false}",
        ),
        (
            config.loss_type != "nll",
            f"loss_type: {config.loss_type}",
            "scores use the cross-entropy",
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
        (
            config.bf16_full_eval or config.fp16_full_eval,
            "bf16_full_eval or fp16_full_eval",
            "the model would stay off the GPU until training begins",
            "bf16: true, which evaluates in bfloat16 too",
        ),
        (config.use_liger_kernel, "use_liger_kernel: true", "fused layers bypass the taps", "use_liger_kernel: false"),
        (config.auto_find_batch_size, "auto_find_batch_size: true", "a step is one selection", "a fixed batch size"),
        (config.deepspeed, "deepspeed", "it owns the gradients that are selected here", "a single process without it"),
        (config.fsdp, "fsdp", "sharded training is not supported yet", "a single process without it"),
        (
            config.n_gpu > 1,
            f"{config.n_gpu} visible GPUs in one process",
            "data parallel replicas bypass the taps",
            "CUDA_VISIBLE_DEVICES=0",
        ),
        (
            config.world_size > 1,
            f"{config.world_size} processes",
            "scores are not gathered across processes yet",
            "a single process",
        ),
        (
            config.optim in (OptimizerNames.LOMO, OptimizerNames.ADALOMO),
            f"optim: {config.optim}",
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
    for seen, what, why, instead in refused:
        if seen:
            raise ConfigError(f"{what} cannot be used with DualSelect: {why}. Use {instead}.")
