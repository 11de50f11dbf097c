"""The two scores of arXiv 2606.09866 (minimax view)."""

from torch import Tensor


def reference_scores(
    preservation_losses: Tensor, cosines: Tensor, *, loss_weight: float = 1.0, conflict_weight: float = 1.0
) -> Tensor:
    """Score of each reference: high if poorly preserved and in conflict with the task.

        s_ref(j) = mu_r * preservation_loss(j) - nu * cos(g_j, d_task)

    Args:
        preservation_losses: Shape (N,).
        cosines: Cosine of each reference's gradient to the task direction, shape (N,), in [-1, 1].
        loss_weight: mu_r, 0 or more.
        conflict_weight: nu, 0 or more.

    Returns:
        Shape (N,).
    """
    return loss_weight * preservation_losses - conflict_weight * cosines


def task_scores(losses: Tensor, cosines: Tensor, *, loss_weight: float = 1.0, conflict_weight: float = 1.0) -> Tensor:
    """Score of each task example: low if learnable and compatible with the references.

        s_task(i) = mu_t * loss(i) - nu * cos(g_i, g_ref)

    Args:
        losses: Shape (B,).
        cosines: Cosine of each example's gradient to the reference direction, shape (B,), in [-1, 1].
        loss_weight: mu_t, 0 or more.
        conflict_weight: nu, 0 or more.

    Returns:
        Shape (B,).
    """
    return loss_weight * losses - conflict_weight * cosines
