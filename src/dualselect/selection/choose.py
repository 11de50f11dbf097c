"""Choose the rows to keep and their weights from scores.

Hard weights are equal; soft weights are the closed form of the entropy-regularized inner problem (arXiv 2606.09866,
minimax view), softmax(+-score / temperature), renormalized over the rows kept. Ties are broken by row
order, so a choice is deterministic. Scores must be finite, because NaN cannot be ranked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Choice:
    """Rows kept out of n.

    Attributes:
        kept: Positions of the rows kept, ascending.
        weights: Weight of each of the n rows, shape (n,), float64; 0 for rows dropped; they sum to 1, or to 0 if none
            is kept.
    """

    kept: list[int]
    weights: Tensor


def choose_all(count: int) -> Choice:
    """Keep all `count` rows (1 or more), with equal weights."""
    return Choice(list(range(count)), torch.full((count,), 1.0 / count, dtype=torch.float64))


def choose_highest(scores: Tensor, count: int, *, temperature: float | None = None) -> Choice:
    """Keep the `count` highest scores, or all scores if there are fewer.

    Args:
        scores: Shape (n,), finite; n may be 0.
        count: 1 or more.
        temperature: Above 0 for soft weights, softmax(score / temperature); None for equal weights.
    """
    return choose_lowest(-scores, count, temperature=temperature)


def choose_lowest(scores: Tensor, count: int, *, temperature: float | None = None) -> Choice:
    """Keep the `count` lowest scores, or all scores if there are fewer.

    Args:
        scores: Shape (n,), finite; n may be 0.
        count: 1 or more.
        temperature: Above 0 for soft weights, softmax(-score / temperature); None for equal weights.
    """
    return _weigh(scores, _ascending(scores)[:count], temperature)


def choose_by_tokens(
    scores: Tensor, tokens: Tensor, share: float, *, surplus: float = 0.0, temperature: float | None = None
) -> Choice:
    """Keep the lowest-scored examples until their supervised tokens reach a share of all tokens.

    The example that crosses the budget is kept, and at least one example is kept (arXiv 2606.09866). `surplus`,
    the tokens that earlier steps kept beyond their share, is deducted from this step's budget. The share of a whole
    run is therefore exact to within one example; see `token_surplus`.

    Args:
        scores: Shape (n,), finite.
        tokens: Number of supervised tokens of each example, shape (n,), integers of 1 or more.
        share: In (0, 1].
        surplus: Tokens kept beyond the share so far, 0 or more.
        temperature: As for `choose_lowest`.
    """
    order = _ascending(scores)
    before = tokens[order].cumsum(0) - tokens[order]
    # 0.9 of 10 tokens is 9 tokens, although 0.9 * 10 may be slightly above 9 in floating point
    budget = share * float(tokens.sum()) - surplus - 1e-9 * float(tokens.sum())
    kept = before.double() < budget
    kept[:1] = True
    return _weigh(scores, order[kept], temperature)


def token_surplus(kept: float, offered: float, share: float) -> float:
    """Tokens kept beyond the share so far.

    Args:
        kept: Supervised tokens of the examples kept in all steps so far.
        offered: Supervised tokens of all examples of these steps.
        share: In (0, 1].

    Returns:
        0 or more. Less than one example's tokens, unless the one example that a step must keep exceeded its budget.
    """
    return max(0.0, kept - share * offered)


def choose_compatible(
    scores: Tensor, conflicts: Tensor, threshold: float, *, temperature: float | None = None
) -> Choice:
    """Keep the examples whose conflict score is at most `threshold`. If every example conflicts, none is kept.

    Args:
        scores: Shape (n,), finite.
        conflicts: Shape (n,); high means conflict.
        threshold: The largest conflict score that is kept.
        temperature: As for `choose_lowest`.
    """
    kept = (conflicts <= threshold).nonzero().flatten()
    return _weigh(scores, kept, temperature)


def choose_task_rows(
    scores: Tensor,
    tokens: Tensor,
    *,
    conflicts: Tensor | None,
    top_k: int | None,
    token_share: float | None,
    conflict_threshold: float | None,
    surplus: float = 0.0,
    temperature: float | None = None,
) -> Choice:
    """Choose the task examples of one step by the configured rule: a count, a share of the tokens, or no conflict.

    Args:
        scores: Task scores, shape (n,).
        tokens: Number of supervised tokens of each example, shape (n,).
        conflicts: Conflict score of each example, shape (n,); used only if `top_k` and `token_share` are None.
        top_k: Number of examples to keep; None to use one of the other two rules.
        token_share: Share of the tokens to keep, in (0, 1]; None to drop the examples in conflict.
        conflict_threshold: The largest conflict score that is kept.
        surplus: As for `choose_by_tokens`.
        temperature: As for `choose_lowest`.
    """
    if top_k is not None:
        return choose_lowest(scores, top_k, temperature=temperature)
    if token_share is not None:
        return choose_by_tokens(scores, tokens, token_share, surplus=surplus, temperature=temperature)
    assert conflicts is not None
    assert conflict_threshold is not None
    return choose_compatible(scores, conflicts, conflict_threshold, temperature=temperature)


def draw(count: int, size: int, *, generator: torch.Generator) -> list[int]:
    """`size` of `count` positions in random order without replacement, or all of them if there are fewer."""
    return torch.randperm(count, generator=generator)[:size].tolist()  # type: ignore[no-any-return]


def spread(ordered: Sequence[int], count: int) -> list[int]:
    """At most `count` of the given positions, evenly spaced in their order."""
    taken = min(count, len(ordered))
    return [ordered[place * len(ordered) // taken] for place in range(taken)]


def _ascending(scores: Tensor) -> Tensor:
    if not torch.isfinite(scores).all():
        raise ValueError(f"scores must be finite to be ranked, got {scores.tolist()}")
    return torch.sort(scores.double(), stable=True).indices


def _weigh(scores: Tensor, kept: Tensor, temperature: float | None) -> Choice:
    kept = kept.sort().values
    weights = torch.zeros(len(scores), dtype=torch.float64)
    if temperature is None:
        weights[kept] = 1.0 / max(len(kept), 1)
    else:
        weights[kept] = torch.softmax(-scores.double()[kept] / temperature, dim=0)
    return Choice(kept.tolist(), weights)
