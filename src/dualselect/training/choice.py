"""The choice among the examples of one optimizer step."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dualselect.selection import Choice, ConflictFilter, choose_all, choose_task_rows, task_scores
from dualselect.training.config import DualSelectConfig
from dualselect.training.state import LoopState
from dualselect.training.step import ExampleStats


@dataclass(frozen=True)
class Decision:
    """What was decided about the n examples of a step.

    Attributes:
        choice: The examples kept, and their weights.
        scores: Task scores, shape (n,); lower means more compatible.
        conflicts: Conflict scores, shape (n,); None unless the token budget is `auto`.
    """

    choice: Choice
    scores: Tensor
    conflicts: Tensor | None = None

    def fields(self, stats: ExampleStats, found: ConflictFilter | None, *, selecting: bool) -> dict[str, Any]:
        """Selection-log fields of a step; one entry per example.

        `probe_scores`, `conflicts` and `p_values` are there if the filter is calibrated on harmless rows. In the
        warm-up there are no cosines and scores, and without a filter nothing at all.

        Args:
            stats: Statistics of the examples.
            found: The filter; None unless the token budget is `auto`.
            selecting: Whether the warm-up is over.
        """
        if not selecting and self.conflicts is None:
            return {}
        by_filter: dict[str, Any] = {}
        if found is not None and self.conflicts is not None:
            by_filter = {} if found.probe is None else {"probe_scores": stats.probe_scores.tolist()}
            by_filter |= {
                "conflicts": self.conflicts.tolist(),
                "p_values": found.harmless.p_values(self.conflicts).tolist(),
            }
        compared = {"cosines": stats.cosines.tolist(), "scores": self.scores.tolist()} if selecting else {}
        return {
            **compared,
            "tokens": [int(count) for count in stats.tokens.tolist()],
            "kept": (self.choice.weights > 0).tolist(),
            "weights": self.choice.weights.tolist(),
            **by_filter,
        }

    def metrics(self, stats: ExampleStats) -> dict[str, float]:
        """Metrics of a step for trackers: means and fractions over its examples."""
        kept = self.choice.weights > 0
        return {
            "task_cosine": float(stats.cosines.mean()),
            "kept_fraction": float(kept.double().mean()),
            "kept_token_fraction": float((stats.tokens * kept).sum() / stats.tokens.sum()),
        }


def decide(stats: ExampleStats, loop: LoopState, config: DualSelectConfig, *, selecting: bool) -> Decision:
    """Score the n examples of a step and choose among them.

    Args:
        stats: Statistics of the examples.
        loop: The state of the run; the choice is added to its totals.
        config: Settings.
        selecting: Whether there are references. Before, in the warm-up, examples in conflict are dropped by the probe
            alone, if there is one, and all others are kept.
    """
    scores = task_scores(
        stats.losses, stats.cosines, loss_weight=config.task_loss_weight, conflict_weight=config.conflict_weight
    )
    share, found = config.task_token_share, loop.conflict_filter
    conflicts = None if found is None else found.conflicts(stats.cosines, stats.probe_scores)
    threshold = None if found is None else found.threshold(config.harmless_drop_rate)
    if not selecting and conflicts is None:
        return Decision(choose_all(len(scores)), scores)
    choice = choose_task_rows(
        scores,
        stats.tokens,
        conflicts=conflicts,
        top_k=config.task_top_k if selecting else None,
        token_share=share if selecting else None,
        conflict_threshold=threshold,
        surplus=loop.totals.token_surplus(share) if share and config.task_budget_scope == "run" else 0.0,
        temperature=config.task_temperature if config.selection_mode == "soft" and selecting else None,
    )
    loop.totals.add(choice, stats.tokens)
    return Decision(choice, scores, conflicts)
