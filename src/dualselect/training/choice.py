"""The choice among the examples of one optimizer step."""

from torch import Tensor

from dualselect.selection import Choice, choose_all, choose_task_rows, task_scores
from dualselect.training.config import DualSelectConfig
from dualselect.training.state import LoopState
from dualselect.training.step import ExampleStats


def choose_rows(stats: ExampleStats, loop: LoopState | None, config: DualSelectConfig) -> tuple[Tensor, Choice]:
    """Score the n examples of a step and choose among them, within the token budget.

    Args:
        stats: Statistics of the examples.
        loop: The state of the run after its first refresh; the choice is added to its totals. None during the
            warm-up, which keeps all examples.
        config: Settings.

    Returns:
        The scores, shape (n,), where lower means more compatible; and the choice.
    """
    scores = task_scores(
        stats.losses, stats.cosines, loss_weight=config.task_loss_weight, conflict_weight=config.conflict_weight
    )
    if loop is None:
        return scores, choose_all(len(scores))
    assert loop.refresh is not None
    share = config.task_token_share
    choice = choose_task_rows(
        scores,
        stats.cosines,
        stats.tokens,
        top_k=config.task_top_k,
        token_share=share,
        conflict_threshold=loop.refresh.conflict_threshold(config.harmless_drop_rate),
        surplus=loop.totals.token_surplus(share) if share and config.task_budget_scope == "run" else 0.0,
        temperature=config.task_temperature if config.selection_mode == "soft" else None,
    )
    loop.totals.add(choice, stats.tokens)
    return scores, choice
