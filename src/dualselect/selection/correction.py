"""Correction of the update by the references (arXiv 2606.09866, gradient correction)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dualselect.gradients.layout import NORM_FLOOR


def corrected(
    task_gradient: Tensor,
    reference_directions: Tensor,
    *,
    mode: Literal["add", "project", "project_add", "none"],
    rho: float | Sequence[float],
    rho_mode: Literal["absolute", "relative"] = "absolute",
) -> Tensor:
    """The task gradient, corrected by each reference direction in turn.

        add:          g_task + rho * g_ref
        project:      g_task - min(0, <g_task, g_ref>) / |g_ref|^2 * g_ref
        project_add:  project, then add

    With `rho_mode` relative, rho is multiplied by |g_task| / |g_ref| before it is used. A direction whose norm is
    below `NORM_FLOOR` is not used.

    Args:
        task_gradient: Shape (P,).
        reference_directions: Shape (P,), or (S, P) for the S sides of a pool.
        mode: As above, or `none` for the unchanged task gradient.
        rho: 0 or more; one number, or one for each direction.
        rho_mode: `absolute` as in the paper, or `relative`.

    Returns:
        Shape (P,), a new tensor unless no correction is applied.
    """
    directions = reference_directions.reshape(-1, len(task_gradient))
    rhos = [rho] * len(directions) if isinstance(rho, int | float) else rho
    gradient = task_gradient
    for direction, strength in zip(directions, rhos, strict=True):
        length = torch.linalg.vector_norm(direction)
        if mode == "none" or length < NORM_FLOOR:
            continue
        if mode in ("project", "project_add"):
            gradient = project_conflict(gradient, direction)
        if mode in ("add", "project_add"):
            scale = torch.linalg.vector_norm(task_gradient) / length if rho_mode == "relative" else 1.0
            gradient = torch.add(gradient, direction, alpha=float(strength * scale))
    return gradient


def project_conflict(gradient: Tensor, other: Tensor) -> Tensor:
    """The gradient without its component opposed to `other`: g - min(0, <g, o>) / |o|^2 * o.

    The dot product is over all trainable parameters together. A product per tensor would be a different method. The
    gradient is unchanged if the norm of `other` is below `NORM_FLOOR`.

    Args:
        gradient: Shape (P,).
        other: Shape (P,).

    Returns:
        Shape (P,).
    """
    length = torch.linalg.vector_norm(other)
    if length < NORM_FLOOR:
        return gradient
    opposed = (gradient @ other).clamp(max=0.0)
    projected: Tensor = gradient - opposed / length**2 * other
    return projected


def conflict_direction(sums: Tensor, task_direction: Tensor) -> Tensor:
    """What the filter scores task examples against: refusals minus compliances, without what harmless rows share.

    All task examples share the task direction, and helpful answers share that of helping; neither tells a harmful
    example from a harmless one. (Measured: docs/results.md, which also says why the whole pool is used here and not
    the selected references.) If most of the task is harmful, the task direction is that of the harm, and the filter
    finds less.

    Args:
        sums: Shape (S, P): the mean gradient of the refusals of the pool minus that of their contrasts, then, if the
            pool has two sides, the mean gradient of the helpful answers.
        task_direction: Shape (P,).

    Returns:
        Shape (P,): the first sum, without its component in the plane of the others and the task direction.
    """
    return without_components(sums[0], [*sums[1:], task_direction])


def without_components(vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """A vector, shape (P,), projected onto the complement of the span of some others, shape (P,) each.

    Others that are shorter than `NORM_FLOOR`, alone or beside those before them, are not used.
    """
    basis: list[Tensor] = []
    for other in others:
        rest = _rejected(other, basis)
        length = torch.linalg.vector_norm(rest)
        if length >= NORM_FLOOR:
            basis.append(rest / length)
    return _rejected(vector, basis)


def _rejected(vector: Tensor, basis: Sequence[Tensor]) -> Tensor:
    for direction in basis:
        vector = vector - (vector @ direction) * direction
    return vector
