"""The processes of a run under torchrun: ranks, collectives, and work of the main process alone.

With one process, every function returns at once. All processes must call the collectives in the same order.
"""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar


if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


def _group() -> Any:
    """torch.distributed of several processes; None for one process. A process without torch is alone."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed if distributed.get_world_size() > 1 else None


def process_count() -> int:
    """Number of processes, 1 or more."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def processes_here() -> int:
    """Number of processes of the run on this machine, which share its memory, 1 or more."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or process_count()) if process_count() > 1 else 1


def process_index() -> int:
    """Number of this process, from 0."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def is_replica() -> bool:
    """Whether torchrun started this process with a rank above 0; known before the process group exists."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"


def is_main_process() -> bool:
    """Whether this is the process that writes files, logs and draws progress bars."""
    return process_index() == 0


def train_command(processes: int | None = None) -> str:
    """The command that starts training on a number of processes; None for the number of this run."""
    count = process_count() if processes is None else processes
    return f"torchrun --nproc_per_node {count} --no-python dualselect train" if count > 1 else "dualselect train"


def wait_for_all() -> None:
    """A barrier."""
    group = _group()
    if group is not None:
        group.barrier()


def total_of(tensor: "Tensor") -> "Tensor":
    """Sum of a tensor over the processes; the tensor itself, unchanged, of one process."""
    group = _group()
    if group is None:
        return tensor
    # NCCL moves what is on a GPU only
    moved = tensor.cuda() if group.get_backend() == "nccl" and tensor.device.type == "cpu" else tensor.clone()
    group.all_reduce(moved)
    return moved.to(tensor.device)


def limit_waiting(limit: timedelta) -> None:
    """Set the time-out of the collectives; transformers sets it for GPUs only."""
    if _group() is not None:
        from torch.distributed.distributed_c10d import _set_pg_timeout

        _set_pg_timeout(limit)


def gathered(value: T) -> list[T]:
    """The value of each process, in the order of the processes."""
    group = _group()
    if group is None:
        return [value]
    values: list[Any] = [None] * group.get_world_size()
    group.all_gather_object(values, value)
    return values


def from_main(work: Callable[[], T]) -> T:
    """Run a function in the main process only, and broadcast its result.

    Args:
        work: The function; its result must be picklable.

    Raises:
        SystemExit: In the other processes, if the function fails in the main process, which raises its own error.
    """
    group = _group()
    if group is None:
        return work()
    outcome: list[Any] = [None, False]
    if is_main_process():
        try:
            outcome = [work(), True]
        finally:
            group.broadcast_object_list(outcome)
    else:
        group.broadcast_object_list(outcome)
        if not outcome[1]:
            raise SystemExit(1)
    result: T = outcome[0]
    return result


def main_first(work: Callable[[], T]) -> T:
    """Run a function in every process, in the main process first; for example, to fill a cache once.

    Returns:
        The result of this process.

    Raises:
        SystemExit: In the other processes, if the function fails in the main process.
    """
    made: list[T] = []
    from_main(lambda: made.append(work()))
    return made[0] if made else work()
