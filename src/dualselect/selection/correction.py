"""Correction of the update by the references (arXiv 2606.09866, gradient correction)."""

from typing import Literal

import torch
from torch import Tensor

from dualselect.gradients.layout import NORM_FLOOR


def corrected(
    task_gradient: Tensor,
    reference_direction: Tensor,
    *,
    mode: Literal["add", "project", "project_add", "none"],
    rho: float,
    rho_mode: Literal["absolute", "relative"] = "absolute",
) -> Tensor:
    """The task gradient, corrected by the reference direction.

        add:          g_task + rho * g_ref
        project:      g_task - min(0, <g_task, g_ref>) / |g_ref|^2 * g_ref
        project_add:  project, then add

    With `rho_mode` relative, rho is multiplied by |g_task| / |g_ref| before it is used. No correction is applied if
    the norm of the reference direction is below `NORM_FLOOR`.

    Args:
        task_gradient: Shape (P,).
        reference_direction: Shape (P,).
        mode: As above, or `none` for the unchanged task gradient.
        rho: 0 or more.
        rho_mode: `absolute` as in the paper, or `relative`.

    Returns:
        Shape (P,), a new tensor unless no correction is applied.
    """
    length = torch.linalg.vector_norm(reference_direction)
    if mode == "none" or length < NORM_FLOOR:
        return task_gradient
    gradient = task_gradient
    if mode in ("project", "project_add"):
        gradient = project_conflict(gradient, reference_direction)
    if mode in ("add", "project_add"):
        scale = rho * torch.linalg.vector_norm(task_gradient) / length if rho_mode == "relative" else rho
        gradient = torch.add(gradient, reference_direction, alpha=float(scale))
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
