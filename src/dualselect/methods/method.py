"""What a way to fine-tune is: what it needs, and the few places where it does something else than plain fine-tuning.

A `Method` is its settings, a frozen dataclass; `update` makes its `Update`, which lives for one run. Both do nothing
but plain fine-tuning until a hook is overridden. `MethodTrainer` calls the hooks.

Shapes: B examples in a micro-batch, P trainable parameters, all gradients and weights flat float32 vectors.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from datasets import Dataset
from torch import Tensor, nn

from dualselect.errors import ConfigError
from dualselect.gradients import GradientLayout
from dualselect.gradients.losses import response_cross_entropy


Need = Literal[
    "safe_pool", "risk_labels", "harmful_data", "base_checkpoint", "reference_logits", "per_example_gradients"
]


@dataclass(frozen=True)
class Run:
    """What an update has to work with.

    Attributes:
        model: The model that is trained, with its adapter.
        layout: Where each of its trainable parameters lies in a flat vector.
        task: All tokenized task rows, `input_ids` and `labels`, used or not.
        pool: The tokenized reference pool; None for a run without one.
        batch: From tokenized rows to a padded batch on the model's device.
        tell: Logs numbers by name, into metrics.jsonl too.
        start_model: Makes the context under which `model` is the start model: its adapter is off.
        rows_per_step: Rows of an optimizer step.
        seed: Of everything random.
    """

    model: nn.Module
    layout: GradientLayout
    task: Dataset
    pool: Dataset | None
    batch: Callable[[Dataset], Mapping[str, Any]]
    tell: Callable[[dict[str, float]], None]
    start_model: Callable[[], AbstractContextManager[Any]]
    rows_per_step: int
    seed: int


class Update:
    """The hooks of one run; as they stand here, plain fine-tuning.

    Args:
        run: What there is to work with.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def losses(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Loss of each example of a micro-batch, shape (B,); their mean over the optimizer step is minimized."""
        return response_cross_entropy(model, inputs)

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        """The gradient that goes to clipping and the optimizer.

        Args:
            gradient: Of the mean loss of the step's examples, shape (P,).
            step: Optimizer steps done.
            steps: Optimizer steps of the run.
        """
        return gradient

    def after_step(self) -> None:
        """Called after each step of the optimizer."""

    def finish(self) -> None:
        """Called after the last step; puts the final weights into the model, where they are not there already."""


@dataclass(frozen=True)
class Method:
    """A way to fine-tune, as a value: its settings are its fields.

    Attributes:
        paper: Where it is from.
        needs: What it cannot do without.
        tuned_by: What its settings are chosen on: `balance` of safety and utility on validation prompts, or
            `validation_loss` on held-out task rows.
        name: What it is called.
    """

    paper: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    tuned_by: ClassVar[Literal["balance", "validation_loss"]] = "balance"
    name: str = ""

    @property
    def needs_pool(self) -> bool:
        """Whether it can do nothing without a reference pool."""
        return "safe_pool" in self.needs

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "name"}

    @property
    def setting_names(self) -> list[str]:
        """The settings that a user can change."""
        return list(self.settings)

    def candidate(self) -> "Method":
        """The method as it trains while its settings are being chosen."""
        return self

    def facts(self) -> dict[str, Any]:
        """What a run's config.yaml says of its method."""
        return {"name": self.name, "settings": self.settings, "command": "dualselect compare"}

    def rows(self, task: Dataset, pool: Dataset | None, seed: int) -> Dataset:
        """The rows of the run, from the tokenized task rows and pool (`input_ids`, `labels`, `id`, `kind`)."""
        return task

    def order(
        self, task_rows: int, rows: int, rows_per_step: int, epochs: float, generator: torch.Generator
    ) -> list[int] | None:
        """The order of all rows of a run, by position in `rows`; None for the trainer's own shuffle of each epoch.

        Args:
            task_rows: How many rows the task has; they come first in `rows`.
            rows: How many rows there are.
            rows_per_step: Rows of an optimizer step.
            epochs: How often the task rows are gone through.
            generator: The one source of chance.
        """
        return None

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return Update(run)


def check_count(method: Method, name: str) -> None:
    """Refuse a setting that is no integer of 1 or more.

    Raises:
        ConfigError: It is not.
    """
    value = getattr(method, name)
    if type(value) is not int or value < 1:
        raise ConfigError(f"{method.name}: {name} is {value!r}; write an integer of 1 or more")


def check_range(
    method: Method, name: str, *, low: float, high: float = math.inf, above: bool = False, below: bool = False
) -> None:
    """Refuse a setting that is no number within [low, high], without `low` with `above`, without `high` with `below`.

    Raises:
        ConfigError: It is not; the message says what would be.
    """
    value = getattr(method, name)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (above and value == low) or (below and value == high):
        at_least = f"above {low:g}" if above else f"{low:g} or more"
        at_most = f" and {'below' if below else 'at most'} {high:g}" if high < math.inf else ""
        raise ConfigError(f"{method.name}: {name} is {value!r}; write a number {at_least}{at_most}")


def weights_of(run: Run) -> Tensor:
    """The trainable parameters now, a new tensor of shape (P,)."""
    return torch.cat([p.detach().float().flatten() for p in run.layout.parameters(run.model).values()])


def set_weights(run: Run, weights: Tensor) -> None:
    """Give the trainable parameters the values of a flat vector, shape (P,)."""
    parameters = run.layout.parameters(run.model)
    with torch.no_grad():
        for name, piece in run.layout.pieces(weights):
            parameters[name].copy_(piece)
