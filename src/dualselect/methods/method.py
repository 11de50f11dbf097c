"""The interface of fine-tuning methods.

A `Method` is a frozen dataclass of settings; `update` creates its `Update`, the hooks of one run. The defaults of both
are plain fine-tuning. `MethodTrainer` calls the hooks.

Shapes: B examples in a micro-batch, P trainable parameters, all gradients and weights flat float32 vectors.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from datasets import Dataset
from peft import PeftConfig
from torch import Tensor, nn

from dualselect.errors import ConfigError
from dualselect.gradients import GradientLayout
from dualselect.models.losses import response_cross_entropy


Need = Literal[
    "safe_pool", "risk_labels", "harmful_data", "base_checkpoint", "reference_logits", "per_example_gradients"
]


@dataclass(frozen=True)
class Run:
    """The context of an update.

    Attributes:
        model: The model that is trained, with its adapter.
        layout: Layout of its trainable parameters in a flat vector.
        task: All tokenized task rows (`input_ids`, `labels`), including unused ones.
        pool: The tokenized reference pool; None without one.
        batch: Collates tokenized rows into a padded batch on the model's device.
        log: Logs metrics by name, also to metrics.jsonl.
        start_model: Context manager that turns `model` into the start model by disabling its adapter.
        rows_per_step: Rows per optimizer step.
        seed: Seed of all sampling.
        folder: The run directory; methods that a later run continues write their state into it.
        pool_ids: Id of each row of the pool.
        pool_tasks: Task (`kind`) of each row of the pool.
        merged_adapters: Adapters of earlier runs that are part of the model's weights.
    """

    model: nn.Module
    layout: GradientLayout
    task: Dataset
    pool: Dataset | None
    batch: Callable[[Dataset], Mapping[str, Any]]
    log: Callable[[dict[str, float]], None]
    start_model: Callable[[], AbstractContextManager[Any]]
    rows_per_step: int
    seed: int
    folder: Path
    pool_ids: Sequence[str] = ()
    pool_tasks: Sequence[str] = ()
    merged_adapters: Sequence[str] = ()


class Update:
    """The hooks of one run; the defaults are plain fine-tuning.

    Args:
        run: Context of the run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def losses(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Loss of each example of a micro-batch, shape (B,); their mean over the optimizer step is minimized."""
        return response_cross_entropy(model, inputs)

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        """The gradient passed to clipping and the optimizer.

        Args:
            gradient: Gradient of the mean loss over the step's examples, shape (P,).
            step: Number of finished optimizer steps.
            steps: Number of optimizer steps of the run.
        """
        return gradient

    def after_step(self) -> None:
        """Called after each optimizer step."""

    def finish(self) -> None:
        """Called after the last step; writes the final weights into the model if they differ."""


@dataclass(frozen=True)
class Method:
    """A fine-tuning method; its fields are its settings.

    Attributes:
        paper: Its source.
        needs: Its requirements.
        tuned_by: Criterion for tuning: `balance` of safety and utility on validation prompts, or `validation_loss` on
            held-out task rows.
        name: Its name.
    """

    paper: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    tuned_by: ClassVar[Literal["balance", "validation_loss"]] = "balance"
    name: str = ""

    @property
    def needs_pool(self) -> bool:
        """Whether it requires a reference pool."""
        return "safe_pool" in self.needs

    @property
    def settings(self) -> dict[str, Any]:
        """Settings as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "name"}

    @property
    def setting_names(self) -> list[str]:
        """Names of the settings that users can change."""
        return list(self.settings)

    def candidate(self) -> "Method":
        """The method as trained during tuning."""
        return self

    def facts(self) -> dict[str, Any]:
        """The method entry of config.yaml."""
        return {"name": self.name, "settings": self.settings, "command": "dualselect compare"}

    def peft_config(self, lora: PeftConfig) -> PeftConfig:
        """The config of the new adapter of a run, given that of the settings."""
        return lora

    def rows(self, task: Dataset, pool: Dataset | None, seed: int) -> Dataset:
        """Training rows from the tokenized task rows and pool (`input_ids`, `labels`, `id`, `kind`)."""
        return task

    def order(
        self, task_rows: int, rows: int, rows_per_step: int, epochs: float, generator: torch.Generator
    ) -> list[int] | None:
        """Row order of the whole run as positions in `rows`; None for the trainer's own shuffling.

        Args:
            task_rows: Number of task rows, which come first in `rows`.
            rows: Number of rows.
            rows_per_step: Rows per optimizer step.
            epochs: Number of passes over the task rows.
            generator: Random generator.
        """
        return None

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return Update(run)


def check_count(method: Method, name: str) -> None:
    """Check that a setting is an integer of 1 or more.

    Raises:
        ConfigError: It is not.
    """
    value = getattr(method, name)
    if type(value) is not int or value < 1:
        raise ConfigError(f"{method.name}: {name} is {value!r}; use an integer of 1 or more")


def check_range(
    method: Method, name: str, *, low: float, high: float = math.inf, above: bool = False, below: bool = False
) -> None:
    """Check that a setting is in [low, high]; `above` excludes `low`, `below` excludes `high`.

    Raises:
        ConfigError: It is not; the message gives the range.
    """
    value = getattr(method, name)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (above and value == low) or (below and value == high):
        at_least = f"above {low:g}" if above else f"{low:g} or more"
        at_most = f" and {'below' if below else 'at most'} {high:g}" if high < math.inf else ""
        raise ConfigError(f"{method.name}: {name} is {value!r}; use a number {at_least}{at_most}")


def weights_of(run: Run) -> Tensor:
    """A copy of the trainable parameters, shape (P,)."""
    return torch.cat([p.detach().float().flatten() for p in run.layout.parameters(run.model).values()])


def set_weights(run: Run, weights: Tensor) -> None:
    """Set the trainable parameters from a flat vector, shape (P,)."""
    parameters = run.layout.parameters(run.model)
    with torch.no_grad():
        for name, piece in run.layout.pieces(weights):
            parameters[name].copy_(piece)
