"""What a checkpoint holds beyond TRL's: the directions, the selected references, the losses at the start.

One safetensors file, numbers in its metadata as JSON, written whole or not at all.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dualselect.errors import ResumeError
from dualselect.gradients import GradientLayout, cosines
from dualselect.selection import Choice
from dualselect.system.files import write_atomically
from dualselect.training.refresh import Directions, Refresh
from dualselect.training.totals import SelectionTotals


STATE_FILE = "dualselect_state.safetensors"


@dataclass
class LoopState:
    """Where the loop stands between two optimizer steps.

    Attributes:
        direction_sum: Sum of the task gradients since the last refresh, after selection and before correction, (P,).
        direction_steps: Number of steps in that sum.
        start_losses: Response cross-entropy of each reference at the start, shape (N,); None before it is needed.
        refresh: The last choice of references; None before the first.
        step: Optimizer steps done.
        warmup_steps: Warm-up steps of the selection in this run; None before the run has begun.
        totals: What was offered to the selection and dropped so far.
    """

    direction_sum: Tensor
    direction_steps: int = 0
    start_losses: Tensor | None = None
    refresh: Refresh | None = None
    step: int = 0
    warmup_steps: int | None = None
    totals: SelectionTotals = field(default_factory=SelectionTotals)

    @property
    def task_direction(self) -> Tensor:
        """Direction of the task since the last refresh, (P,): the sum over the warm-up at first, then the mean."""
        if self.refresh is None or not self.direction_steps:
            return self.direction_sum
        return self.direction_sum / self.direction_steps

    @property
    def task_direction_cosine(self) -> float | None:
        """Of the task direction to the one that the last refresh had, in [-1, 1], 0 where that has no length.

        None before the first step since.
        """
        if self.refresh is None or not self.direction_steps:
            return None
        return cosines(self.task_direction[None], self.refresh.task_direction).item()


@contextmanager
def full_disk_told(step: int, folder: str) -> Iterator[None]:
    """Turn what torch and safetensors make of a full disk, while a checkpoint is written, into a plain OSError."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise OSError(
            f"checkpoint {step} could not be written to {folder} ({error}): make room there, then resume from the "
            "last complete checkpoint"
        ) from error


def save_state(state: LoopState, folder: str | Path, layout: GradientLayout, fingerprint: dict[str, Any]) -> None:
    """Write the state into a checkpoint folder.

    Args:
        state: The state.
        folder: The checkpoint.
        layout: Names and shapes of the trainable parameters, checked at loading.
        fingerprint: What must be the same for a resumed run to go on as it would have, as JSON.
    """
    tensors = {"direction_sum": state.direction_sum}
    facts: dict[str, Any] = {
        "names": layout.names,
        "shapes": [list(shape) for shape in layout.shapes],
        "step": state.step,
        "direction_steps": state.direction_steps,
        "warmup_steps": state.warmup_steps,
        "totals": asdict(state.totals),
        "fingerprint": fingerprint,
        "refresh": None,
    }
    if state.start_losses is not None:
        tensors["start_losses"] = state.start_losses
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
            "conflict_threshold": state.refresh.conflict_threshold,
        }
    content = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, {"state": json.dumps(facts)})
    write_atomically(Path(folder) / STATE_FILE, lambda file: file.write(content))


def load_state(folder: str | Path, layout: GradientLayout, fingerprint: dict[str, Any]) -> LoopState:
    """Read the state of a checkpoint folder.

    Raises:
        ResumeError: The file is missing or broken, or was written for other parameters, data or settings; the
            message names the first difference.
    """
    path = Path(folder) / STATE_FILE
    if not path.is_file():
        raise ResumeError(
            f"{folder} has no {STATE_FILE}: it was not written by DualSelectTrainer or its writing was cut off. "
            "Resume from an older checkpoint, or start anew in another output_dir."
        )
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["state"])
            # copied into aligned memory: where a vector lies decides how the last bit of its dot products is rounded
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ResumeError(f"{path} is broken ({error}): resume from an older checkpoint") from error
    _check_same(path, "trainable parameters", facts["names"], list(layout.names))
    _check_same(path, "shapes", facts["shapes"], [list(shape) for shape in layout.shapes])
    for name, value in json.loads(json.dumps(fingerprint)).items():
        _check_same(path, name, facts["fingerprint"].get(name), value)
    state = LoopState(
        tensors["direction_sum"].to(layout.device), facts["direction_steps"], tensors.get("start_losses")
    )
    state.step, state.warmup_steps = facts["step"], facts["warmup_steps"]
    state.totals = SelectionTotals(**facts["totals"])
    if facts["refresh"] is not None:
        moved = {name: tensors[name].to(layout.device) for name in tensors if name.endswith("_direction")}
        state.refresh = Refresh(
            facts["refresh"]["step"],
            facts["refresh"]["epoch"],
            Choice(facts["refresh"]["kept"], tensors["reference_weights"]),
            moved["task_direction"],
            Directions(moved["correction_direction"], moved.get("score_direction", moved["correction_direction"])),
            facts["refresh"]["conflict_threshold"],
        )
    return state


def _check_same(path: Path, what: str, saved: Any, now: Any) -> None:
    if saved != now:
        raise ResumeError(
            f"{path} was written with {what} {_short(saved)}, this run has {_short(now)}: a resumed run must be the "
            "same run. Put the setting or the data back, or start anew in another output_dir."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def empty_state(layout: GradientLayout) -> LoopState:
    """The state before the first step."""
    return LoopState(torch.zeros(layout.size, device=layout.device))
