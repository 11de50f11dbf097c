"""Totals of what the task selection dropped over a run, and the reason if it dropped nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dualselect.selection import Choice, token_surplus
from dualselect.training.config import DualSelectConfig


@dataclass
class SelectionTotals:
    """Sums over the selection steps of a run, without the warm-up.

    Attributes:
        steps: Selection steps.
        rows: Rows offered to the selection, counted each time they come up.
        rows_dropped: Rows not kept.
        tokens: Supervised tokens of the rows offered.
        tokens_dropped: Supervised tokens of the rows not kept.
        nonfinite_rows: Rows left out because their loss or gradient was NaN or infinite, including the warm-up.
    """

    steps: int = 0
    rows: int = 0
    rows_dropped: int = 0
    tokens: int = 0
    tokens_dropped: int = 0
    nonfinite_rows: int = 0

    def add(self, choice: Choice, tokens: Tensor) -> None:
        """Add a selection step.

        Args:
            choice: The choice among the n rows of the step.
            tokens: Supervised tokens of each row, shape (n,).
        """
        self.steps += 1
        self.rows += len(tokens)
        self.rows_dropped += len(tokens) - len(choice.kept)
        self.tokens += int(tokens.sum())
        # a soft weight may underflow to 0, so the kept rows are read from `kept`
        dropped = torch.ones(len(tokens), dtype=torch.bool)
        dropped[choice.kept] = False
        self.tokens_dropped += int(tokens[dropped].sum())

    def token_surplus(self, share: float) -> float:
        """Number of tokens kept beyond a share of the tokens offered, 0 or more."""
        return token_surplus(self.tokens - self.tokens_dropped, self.tokens, share)

    @property
    def dropped_token_fraction(self) -> float:
        """Share of the supervised tokens that was dropped, in [0, 1]; 0 before the first step."""
        return self.tokens_dropped / self.tokens if self.tokens else 0.0

    def describe(self, config: DualSelectConfig) -> str:
        """One or two sentences for the end of a run."""
        text = (
            f"selection dropped {self.rows_dropped:,} of {self.rows:,} rows offered and "
            f"{self.dropped_token_fraction:.1%} of their supervised tokens"
        )
        if not self.rows_dropped:
            text += f": {why_nothing_was_dropped(self, config)}"
        if self.nonfinite_rows:
            text += f"; {self.nonfinite_rows:,} rows with a loss or gradient that is not finite were left out"
        return text


def why_nothing_was_dropped(totals: SelectionTotals, config: DualSelectConfig) -> str:
    """The reason, and the setting to change.

    Args:
        totals: Totals of a run that kept every row.
        config: Settings of the run.
    """
    if not totals.steps:
        return "every step was a warm-up step"
    if totals.rows == totals.steps and not config.filters_by_conflict:
        return "each step has one row, and a step keeps at least one; raise gradient_accumulation_steps"
    if config.task_top_k is not None:
        return f"no step has more than task_top_k = {config.task_top_k} rows"
    share = config.task_token_share
    if share is None:
        return "no row was in conflict with the references (task_token_budget: auto)"
    if share == 1.0:
        return "task_token_budget is 1.0"
    if config.task_budget_scope == "step":
        return (
            f"task_budget_scope: step keeps the row that crosses {share:g} of a step's tokens, and in this run that "
            "was always the last row; use task_budget_scope: run"
        )
    return f"the run is too short to drop a whole row with task_token_budget = {share:g}"
