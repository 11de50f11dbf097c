"""Every setting of a DualSelect run, with the help text that the command line shows."""

import logging
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from trl import SFTConfig

from dualselect.training.config_checks import (
    check_backends,
    check_choices,
    check_ranges,
    check_supported,
    number_or_auto,
)
from dualselect.training.resume_rule import CHANGEABLE


logger = logging.getLogger(__name__)

DEFAULT_WARMUP_STEPS = 10


@dataclass
class DualSelectConfig(SFTConfig):
    """Settings of `DualSelectTrainer`: all settings of `trl.SFTConfig`, plus the settings of the method.

    Symbols follow arXiv 2606.09866. Defaults are the paper's, with these exceptions: `preservation_loss` is `excess`,
    `task_token_budget` is `auto`, `reference_contrast` is `compliance`, `reference_sides` is `auto`,
    `task_budget_scope` is `run`, short runs have a shorter warm-up (see the help of each), and `bf16` is on only if
    a GPU supports it. The paper's setting is `preservation_loss: ce`, `task_token_budget: 0.9`,
    `reference_contrast: none`, `reference_sides: one`, `task_budget_scope: step`.

    These defaults differ from `SFTConfig`: `max_length` 2048, `lr_scheduler_type` constant, `bf16` only on a GPU.

    Raises:
        ConfigError: A value is out of range, or a setting cannot be combined with per-example gradients. The message
            names the setting, why it is rejected and what to use instead.
    """

    # Overridden defaults of SFTConfig
    max_length: int | None = field(
        default=2048,
        metadata={"help": "Maximum tokens per row; longer rows are truncated at the end. None: no limit."},
    )
    lr_scheduler_type: str = field(
        default="constant", metadata={"help": "Learning-rate schedule; the paper keeps it constant."}
    )
    bf16: bool | None = field(
        default=None,
        metadata={"help": "Mixed precision in bfloat16. Not set: on if a GPU supports it, otherwise off."},
    )

    assistant_only_loss: bool = field(
        default=False, metadata={"help": "Same as `supervise: all`, which works with any chat template."}
    )

    # Rows and tokens
    prompt_format: Literal["chat", "human_assistant"] = field(
        default="chat",
        metadata={
            "help": "How a conversation is rendered as text: `chat` uses the model's chat template; `human_assistant` "
            "uses the plain 'Human: ... Assistant: ...' lines of the paper's scripts, for models without a template."
        },
    )
    mask_mode: Literal["exact", "legacy"] = field(
        default="exact",
        metadata={
            "help": "Which tokens are supervised: `exact`, every response token; `legacy`, all but the first, a "
            "mistake in published scripts. Use legacy only for replication; it needs prompt_format human_assistant."
        },
    )
    supervise: Literal["last", "all"] = field(
        default="last",
        metadata={
            "help": "Turns to compute the loss on: `last`, the last assistant turn; `all`, every assistant turn. "
            "Turns with `train: false` or `weight: 0` are excluded."
        },
    )
    allow_prompt_overlap: bool = field(
        default=False,
        metadata={
            "help": "Keep references whose prompt also appears in the task data. By default a few are left out (see "
            "max_shared_references) and more are an error, because the task teaches other answers to these prompts. "
            "In a comparison, also accept rows whose prompts are used for evaluation."
        },
    )
    max_shared_references: float = field(
        default=0.1,
        metadata={
            "help": "Largest share of the references, in [0, 1], that may be left out because their prompt also "
            "appears in the task data. More is an error. One reference is always allowed unless this is 0."
        },
    )
    token_cache: bool = field(
        default=True,
        metadata={
            "help": "Cache the tokens of data with 1,000 rows or more for later runs with the same rows, template and "
            "settings, in ~/.cache/dualselect/tokens (or under DUALSELECT_CACHE). The cache is limited to 4 GiB; "
            "the files unused for longest are deleted first."
        },
    )

    # Warm-up
    selection_warmup_steps: int | None = field(
        default=None,
        metadata={
            "help": "Plain fine-tuning steps before the first reference refresh. They determine the first task "
            "direction and count towards max_steps. Not set: 10 (paper), or a fifth of the steps if the run has fewer "
            "than 50. (warmup_steps is the learning-rate warm-up of transformers.)"
        },
    )

    # Reference selection
    reference_top_k: int | None = field(
        default=None,
        metadata={"help": "Number of references kept at a refresh. Not set: reference_fraction applies."},
    )
    reference_fraction: float = field(
        default=0.1, metadata={"help": "Share of the reference pool kept at a refresh, rounded up; in (0, 1]."}
    )
    preservation_loss: Literal["excess", "ce", "kl"] = field(
        default="excess",
        metadata={
            "help": "Measure of how much a safe response has been lost: `excess`, the increase of its cross-entropy "
            "since the start of training; `ce`, its cross-entropy (paper), which favors responses that the model "
            "never predicted well; `kl`, KL(start || now) on the response tokens, LoRA only."
        },
    )
    reference_contrast: Literal["none", "compliance", "rejected"] = field(
        default="compliance",
        metadata={
            "help": "What is subtracted from a reference's gradient for scoring: `compliance`, the gradient of a "
            "content-free compliant reply to the same prompt; `rejected`, the gradient of the rejected response; "
            "`none` (paper). The correction always uses only the safe response. A contrast doubles the cost of a "
            "refresh."
        },
    )
    reference_sides: Literal["auto", "one"] = field(
        default="auto",
        metadata={
            "help": "`auto`: if the pool has both refusals and helpful answers (told by their English wording; at "
            "least 4 and a tenth of the pool of each), each side has its own share of selected references, its own "
            "direction and its own correction, and a helpful answer is contrasted with a refusal. `one`: one "
            "direction for the whole pool (paper)."
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
        metadata={"help": "References per forward-backward pass. Not set: per_device_train_batch_size."},
    )

    # Reference refresh
    reference_refresh: Literal["epoch", "steps", "adaptive"] = field(
        default="epoch",
        metadata={
            "help": "When the references are reselected: `epoch`, at the start of each epoch; `steps`, every "
            "reference_refresh_steps; `adaptive`, when the cosine between the current task direction and the one at "
            "the last refresh falls below reference_refresh_cosine."
        },
    )
    reference_refresh_steps: int = field(
        default=50,
        metadata={"help": "Optimizer steps between refreshes (`steps`), or the minimum between two (`adaptive`)."},
    )
    reference_refresh_cosine: float = field(
        default=0.5, metadata={"help": "Cosine below which an adaptive refresh is due; in [-1, 1]."}
    )

    # Task selection
    selection_mode: Literal["hard", "soft"] = field(
        default="hard",
        metadata={
            "help": "Weights of the examples and references that are kept. `hard`: equal weights; `soft`: "
            "entropy-regularized weights, a softmax of the scores divided by the temperature."
        },
    )
    task_token_budget: str = field(  # a number or `auto`: HfArgumentParser has no type for both
        default="auto",
        metadata={
            "help": "`auto`: drop every example that conflicts more with the references than held-out harmless rows "
            "do, by its gradient or by the hidden states of its response; see harmless_drop_rate. It finds little "
            "without a reference_contrast. A number, such as 0.9 (paper): share of the supervised tokens to train "
            "on, in (0, 1]; the lowest-scored examples are kept until they reach this share; see task_budget_scope."
        },
    )
    harmless_drop_rate: float = field(
        default=0.01,
        metadata={
            "help": "With `task_token_budget: auto`, the share of harmless rows that may be dropped, in (0, 1). A row "
            "is dropped if its conformal p-value is at most this for every kind of harmless row: built-in chat, "
            "helpful answers to requests that look harmful, tasks, and the rows of harmless_data. Each kind needs "
            "1 / harmless_drop_rate - 1 rows; all are scored at every refresh."
        },
    )
    task_budget_scope: Literal["run", "step"] = field(
        default="run",
        metadata={
            "help": "The tokens that task_token_budget is a share of: `run`, all selection steps (tokens that a "
            "step keeps beyond its share are deducted from the next step; every step keeps at least one "
            "example); `step`, the tokens of each step, where the example that crosses the budget is kept (paper). "
            "With few rows per step, `step` drops little or nothing."
        },
    )
    task_top_k: int | None = field(
        default=None,
        metadata={"help": "Examples kept per optimizer step, instead of task_token_budget."},
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
            "Such rows are dropped from their step, logged and counted. The run stops above this share, or if no row "
            "of a step is finite."
        },
    )

    # Gradient correction
    correction: Literal["add", "project", "project_add", "none"] = field(
        default="add",
        metadata={
            "help": "How the references change the update: `add`, add rho times the reference direction (paper); "
            "`project`, remove the part of the update that opposes it; `project_add`, both; `none`."
        },
    )
    rho: float | str = field(
        default=0.2,
        metadata={
            "help": "Strength of the added reference direction: higher favors safety, lower favors the task. `auto`: "
            "as strong as needed to keep the loss of a few held-out references where it was at the start (see "
            "reference_slack); one strength for each side of the pool, in units of |g_task| / |g_ref|, at most 2."
        },
    )
    reference_slack: float = field(
        default=0.0,
        metadata={
            "help": "With `rho: auto`, the increase of the held-out references' loss that is accepted, in nats per "
            "token; 0 or more."
        },
    )
    rho_mode: Literal["absolute", "relative"] = field(
        default="absolute",
        metadata={
            "help": "`absolute`: rho times the reference direction (paper); `relative`: the direction is first scaled "
            "to the norm of the task gradient, so that rho is comparable across models and pools."
        },
    )
    reference_gradient: Literal["frozen", "replay"] = field(
        default="frozen",
        metadata={
            "help": "Reference direction between refreshes: `frozen`, as computed at the refresh (paper, no cost); "
            "`replay`, recomputed at each step on a random reference_replay_size of the selected references."
        },
    )
    reference_replay_size: int = field(
        default=4, metadata={"help": "Selected references drawn per step with `reference_gradient: replay`."}
    )

    # Engine
    gradient_engine: Literal["taps", "sequential"] = field(
        default="taps",
        metadata={
            "help": "How per-example gradients are computed: `taps`, one batched forward and backward pass, for "
            "linear layers (LoRA); `sequential`, one example at a time: slower, for any trainable parameters."
        },
    )
    gradient_storage: Literal["auto", "device", "host", "recompute"] = field(
        default="auto",
        metadata={
            "help": "Where the per-example gradients of an optimizer step are kept until its rows are chosen: "
            "`device`; `host`, in pinned CPU memory; `recompute`, not stored: the step is scored layer by layer, "
            "and a second backward pass computes the gradients of the kept rows (memory does not grow with rows per "
            "step; dropout draws different masks). `auto` uses the first option that fits and logs the reason; a "
            "resumed run keeps it."
        },
    )
    gradient_dtype: Literal["float32", "bfloat16"] = field(
        default="float32",
        metadata={"help": "Precision of the per-example gradients that are kept; `bfloat16` halves their memory."},
    )

    def __post_init__(self) -> None:
        check_backends(self)
        given = self.__dict__
        # without this, transformers sets up the device and TF32 and checks the GPU here; see training/hardware.py
        bf16, tf32, self.bf16, self.tf32 = self.bf16, given["tf32"], False, None
        self.distributed_state, self._is_made = None, False
        # transformers warns about the `gradient_` names of these settings, so set the new ones
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
        self.rho = self.rho if self.rho == "auto" else number_or_auto("rho", self.rho)
        check_choices(self)
        check_ranges(self)
        check_supported(self)

    @property
    def device(self) -> torch.device:
        """The device of the run. It is set up on first access, not when the settings are created."""
        return super().device if self._is_made else torch.device("cpu")

    @property
    def task_token_share(self) -> float | None:
        """`task_token_budget` as a number in (0, 1]; None when it is `auto`."""
        return (
            None if self.task_token_budget == "auto" else number_or_auto("task_token_budget", self.task_token_budget)
        )

    @property
    def filters_by_conflict(self) -> bool:
        """Whether task examples in conflict are dropped, however many they are."""
        return self.task_top_k is None and self.task_token_budget == "auto"

    @property
    def fixed_rho(self) -> float | None:
        """`rho` as a number, 0 or more; None when it is `auto`."""
        return None if isinstance(self.rho, str) else self.rho

    def planned_warmup_steps(self, steps: int | None = None) -> int:
        """Selection warm-up steps of a run of `steps` optimizer steps; `steps` is None if the length is unknown."""
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
        """References per forward-backward pass during a refresh."""
        return self.reference_batch_size or self.per_device_train_batch_size
