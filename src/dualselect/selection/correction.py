"""What the references do to the update (arXiv 2606.09866, gradient correction)."""

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
    """The task gradient, nudged by the reference direction.

        add:          g_task + rho * g_ref
        project:      g_task - min(0, <g_task, g_ref>) / |g_ref|^2 * g_ref
        project_add:  project, then add

    With `rho_mode` relative, rho is multiplied by |g_task| / |g_ref| before it is used. A reference direction
    shorter than `NORM_FLOOR` corrects nothing.

    Args:
        task_gradient: Shape (P,).
        reference_direction: Shape (P,).
        mode: As above, or `none` for the task gradient as it is.
        rho: 0 or more.
        rho_mode: `absolute` as in the paper, or `relative`.

    Returns:
        Shape (P,), a new tensor unless nothing is corrected.
    """
    length = torch.linalg.vector_norm(reference_direction)
    if mode == "none" or length < NORM_FLOOR:
        return task_gradient
    gradient = task_gradient
    if mode in ("project", "project_add"):
        gradient = project_conflict(gradient, reference_direction)
    if mode in ("add", "project_add"):
        scale = rho * torch.linalg.vector_norm(task_gradient) / length if rho_mode == "relative" else rho
        gradient = gradient + scale * reference_direction
    return gradient


def project_conflict(gradient: Tensor, other: Tensor) -> Tensor:
    """The gradient without its component against `other`: g - min(0, <g, o>) / |o|^2 * o.

    One dot product over all trainable parameters together; products per tensor are another method. An `other` shorter
    than `NORM_FLOOR` conflicts with nothing.

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
