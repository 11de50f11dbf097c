"""Every setting of a DualSelect run, with the help text that the command line and the docs show."""

import logging
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from trl import SFTConfig

from dualselect.models.precision import has_bfloat16_gpu
from dualselect.training.config_checks import (
    budget_share,
    check_backends,
    check_choices,
    check_ranges,
    check_supported,
)
from dualselect.training.resume_rule import CHANGEABLE


logger = logging.getLogger(__name__)

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

    assistant_only_loss: bool = field(
        default=False, metadata={"help": "Read as `supervise: all`, for every chat template: see there."}
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
    supervise: Literal["last", "all"] = field(
        default="last",
        metadata={
            "help": "Supervised turns of a conversation: `last`, the last assistant turn; `all`, each assistant turn. "
            "Turns with `train: false` or `weight: 0` are not."
        },
    )
    allow_prompt_overlap: bool = field(
        default=False,
        metadata={
            "help": "Keep references whose prompt also stands in the task data. Otherwise a few are left out (see "
            "max_shared_references) and more are an error: they protect prompts that the task teaches differently. In "
            "a comparison also: accept rows whose prompts are measured."
        },
    )
    max_shared_references: float = field(
        default=0.1,
        metadata={
            "help": "Largest share of the references that may be left out because their prompt also stands in the "
            "task data, in [0, 1]; one is always allowed unless this is 0. More is an error."
        },
    )
    token_cache: bool = field(
        default=True,
        metadata={
            "help": "Keep the tokens of 1,000 rows and more for the next start with the same rows, template and "
            "settings, in ~/.cache/dualselect/tokens (or under DUALSELECT_CACHE); at most 4 GiB, oldest deleted."
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
        check_backends(self)
        given = self.__dict__
        bf16 = not self.use_cpu and has_bfloat16_gpu() if self.bf16 is None else self.bf16
        # transformers sets up the device and TF32 and checks the GPU while settings are made; see training/hardware.py
        tf32, self.bf16, self.tf32 = given["tf32"], False, None
        self.distributed_state, self._is_made = None, False
        # the names of these settings that transformers does not warn of
        for name in ("checkpointing", "checkpointing_kwargs"):
            if given[f"activation_{name}"] is None:
                given[f"activation_{name}"] = given[f"gradient_{name}"]
        self.report_to = given["report_to"] or "none"
        super().__post_init__()
        if self.assistant_only_loss:  # the same turns, with exact boundaries for every template
            self.supervise, self.assistant_only_loss = "all", False
            logger.info("assistant_only_loss: true is read as supervise: all")
        self.bf16, self.tf32, self._is_made = bf16, tf32, True
        if self.bf16:
            self.mixed_precision = "bf16"
        self.task_token_budget = str(self.task_token_budget)
        check_choices(self)
        check_ranges(self)
        check_supported(self)

    @property
    def device(self) -> torch.device:
        """The device of the run; it is set up when it is first asked for, and not by making settings."""
        return super().device if self._is_made else torch.device("cpu")

    @property
    def task_token_share(self) -> float | None:
        """`task_token_budget` as a number in (0, 1]; None when it is `auto`."""
        return None if self.task_token_budget == "auto" else budget_share(self.task_token_budget)

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
