"""What a checkpoint adds to TRL's: the directions, the selected references, the losses at the start.

The state is one safetensors file, with numbers as JSON in its metadata. It is written atomically.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dualselect.data.template_dates import date_of, uses_date
from dualselect.data.token_columns import tokens_sha256
from dualselect.errors import ResumeError
from dualselect.gradients import GradientLayout, cosines
from dualselect.selection import Choice, ConflictFilter, Probe
from dualselect.system.files import write_atomically
from dualselect.training.checkpoints import STATE_FILE
from dualselect.training.dial import DialState
from dualselect.training.gradient_storage import Storage
from dualselect.training.preparation import PreparedRows
from dualselect.training.refresh import Directions, Refresh
from dualselect.training.resume_rule import differences
from dualselect.training.totals import SelectionTotals


DATE = "date of the chat template"


@dataclass
class LoopState:
    """The state of the loop between two optimizer steps.

    Attributes:
        direction_sum: Sum of the task gradients since the last refresh, after selection and before correction, (P,).
        direction_steps: Number of steps in that sum.
        start_losses: Response cross-entropy of each reference at the start, shape (N,); None until it is needed.
        refresh: The last choice of references; None before the first refresh.
        opening: The filter of the warm-up; None without one.
        step: Optimizer steps done.
        warmup_steps: Warm-up steps of the selection in this run; None before the run has begun.
        gradient_storage: Where the gradients of a step are kept in this run; None before the run has begun.
        dial: The controller of `rho: auto`; None without it, or before the first step.
        totals: Counts of what was offered to the selection and dropped so far.
        logging: Sums since the last log line, as JSON.
    """

    direction_sum: Tensor
    direction_steps: int = 0
    start_losses: Tensor | None = None
    refresh: Refresh | None = None
    opening: ConflictFilter | None = None
    step: int = 0
    warmup_steps: int | None = None
    gradient_storage: Storage | None = None
    dial: DialState | None = None
    totals: SelectionTotals = field(default_factory=SelectionTotals)
    logging: dict[str, Any] = field(default_factory=dict)

    @property
    def conflict_filter(self) -> ConflictFilter | None:
        """The filter of the last refresh, before it that of the warm-up; None unless the token budget is `auto`."""
        return self.opening if self.refresh is None else self.refresh.conflict_filter

    @property
    def probe(self) -> Probe | None:
        """The probe of the filter; None without one."""
        return None if self.conflict_filter is None else self.conflict_filter.probe

    def add_step(self, task_gradient: Tensor) -> None:
        """Count an optimizer step and add its task gradient, shape (P,), to the task direction."""
        self.direction_sum += task_gradient
        self.direction_steps += 1
        self.step += 1

    @property
    def task_direction(self) -> Tensor:
        """Task direction since the last refresh, (P,): the sum over the warm-up at first, then the mean."""
        if self.refresh is None or not self.direction_steps:
            return self.direction_sum
        return self.direction_sum / self.direction_steps

    @property
    def task_direction_cosine(self) -> float | None:
        """Cosine of the task direction with the one at the last refresh, in [-1, 1]; 0 if one of them is zero.

        None before the first step since the refresh.
        """
        if self.refresh is None or not self.direction_steps:
            return None
        return cosines(self.direction_sum[None], self.refresh.task_direction).item()


def date_in_rows(tokenizer: Any) -> str | None:
    """The date that a chat template prints into the rows, as YYYY-MM-DD; None for a template that prints none."""
    return (date_of(tokenizer) or date.today().isoformat()) if uses_date(tokenizer) else None


def fingerprint_of(
    rows: Mapping[str, PreparedRows],
    contrast: Dataset | None,
    harmless: Dataset | None,
    template_date: str | None,
) -> dict[str, Any]:
    """Identifies the rows of a run by hashes of their ids and tokens.

    Args:
        rows: The `train` and `reference` rows.
        contrast: Tokenized contrast rows, if there are any.
        harmless: Tokenized harmless rows that calibrate the filter, if there are any.
        template_date: The result of `date_in_rows`. It is not compared; messages use it to explain a difference.
    """
    found: dict[str, Any] = {DATE: template_date}
    for role, name in (("train", "task"), ("reference", "reference")):
        found[f"ids of the {name} rows"] = rows[role].fingerprint
        found[f"tokens of the {name} rows"] = rows[role].tokens_sha256
    for name, tokens in (("contrast", contrast), ("harmless", harmless)):
        found[f"tokens of the {name} rows"] = None if tokens is None else tokens_sha256(tokens)
    return found


def save_state(
    state: LoopState,
    folder: str | Path,
    layout: GradientLayout,
    fingerprint: dict[str, Any],
    *,
    logging: dict[str, Any] | None = None,
) -> None:
    """Write the state into a checkpoint folder.

    Args:
        state: The state.
        folder: The checkpoint.
        layout: Names and shapes of the trainable parameters, checked at loading.
        fingerprint: Facts that must not change when the run is resumed, as JSON.
        logging: Sums since the last log line, as JSON.
    """
    tensors = {"direction_sum": state.direction_sum}
    facts: dict[str, Any] = {
        "step": state.step,
        "direction_steps": state.direction_steps,
        "warmup_steps": state.warmup_steps,
        "gradient_storage": state.gradient_storage,
        "dial": None if state.dial is None else asdict(state.dial),
        "totals": asdict(state.totals),
        "logging": logging or {},
        "fingerprint": _compared(layout, fingerprint),
        "refresh": None,
    }
    if state.start_losses is not None:
        tensors["start_losses"] = state.start_losses
    if state.conflict_filter is not None:
        filter_tensors, facts["filter"] = state.conflict_filter.as_values()
        tensors |= filter_tensors
    if state.refresh is not None:
        tensors |= {
            "task_direction": state.refresh.task_direction,
            "correction_direction": state.refresh.directions.correction,
            "reference_weights": state.refresh.choice.weights,
        }
        if not state.refresh.directions.same:
            tensors["score_direction"] = state.refresh.directions.score
        facts["refresh"] = {
            "step": state.refresh.step,
            "epoch": state.refresh.epoch,
            "kept": state.refresh.choice.kept,
        }
    # cloned: the directions are views of one tensor, which safetensors refuses
    content = save({name: tensor.cpu().clone() for name, tensor in tensors.items()}, {"state": json.dumps(facts)})
    write_atomically(Path(folder) / STATE_FILE, lambda file: file.write(content))


def load_state(
    folder: str | Path, layout: GradientLayout, fingerprint: dict[str, Any], *, step: int | None = None
) -> LoopState:
    """Read the state of a checkpoint folder.

    Args:
        folder: The checkpoint.
        layout: Layout of the current trainable parameters.
        fingerprint: As for `save_state`, for the current run.
        step: Optimizer steps done according to the trainer's own state; None to skip this check.

    Raises:
        ResumeError: The file is missing, broken, from another step, or was written for different parameters, data or
            settings. The message names the differences.
    """
    path = Path(folder) / STATE_FILE
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["state"])
            # copied into aligned memory: the alignment of a vector affects the last bit of its dot products
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise ResumeError(f"{path} is missing or broken ({error}): resume from an older checkpoint") from error
    if step is not None and facts["step"] != step:
        raise ResumeError(
            f"{path} is for step {facts['step']}, but trainer_state.json next to it is for step {step}: resume from "
            "another checkpoint"
        )
    now = _compared(layout, fingerprint)
    # a setting that exists in only one of the two library versions cannot be compared
    before = facts["fingerprint"]
    names = [name for name in now if name in before and name != DATE]
    if different := differences(before, now, names):
        raise ResumeError(
            f"{path} is from another run: {'; '.join(different[:3])}{'; ...' if different[3:] else ''}. A resumed run "
            "must be the same run: restore the setting or the data, or start a new run in another output_dir."
            f"{_date_hint(before.get(DATE), now.get(DATE))}"
        )
    state = LoopState(
        tensors["direction_sum"].to(layout.device), facts["direction_steps"], tensors.get("start_losses")
    )
    state.step, state.warmup_steps = facts["step"], facts["warmup_steps"]
    state.gradient_storage = facts["gradient_storage"]
    state.dial = DialState(**facts["dial"]) if facts.get("dial") else None
    state.totals, state.logging = SelectionTotals(**facts["totals"]), facts["logging"]
    found = ConflictFilter.of_values(tensors, facts["filter"]) if facts.get("filter") else None
    if facts["refresh"] is None:
        state.opening = found
    else:
        moved = {name: tensors[name].to(layout.device) for name in tensors if name.endswith("_direction")}
        correction = moved["correction_direction"].reshape(-1, layout.size)
        state.refresh = Refresh(
            facts["refresh"]["step"],
            facts["refresh"]["epoch"],
            Choice(facts["refresh"]["kept"], tensors["reference_weights"]),
            moved["task_direction"],
            Directions(correction, moved.get("score_direction", correction).reshape(-1, layout.size)),
            found,
        )
    return state


def _compared(layout: GradientLayout, fingerprint: dict[str, Any]) -> dict[str, Any]:
    shapes = {"trainable parameters": layout.names, "shapes": [list(shape) for shape in layout.shapes]}
    return dict(json.loads(json.dumps(shapes | fingerprint)))


def _date_hint(before: str | None, now: str | None) -> str:
    if before == now or before is None:
        return ""
    return (
        f" The chat template prints the date, {before} then and {now} now: to keep the earlier date, call "
        f"dualselect.data.template_dates.fixed_date(tokenizer, {before!r}) before you create the trainer."
    )


def empty_state(layout: GradientLayout) -> LoopState:
    """The state before the first step."""
    return LoopState(torch.zeros(layout.size, device=layout.device))
