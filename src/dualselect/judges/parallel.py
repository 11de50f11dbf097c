"""Map over items in threads and yield results as they complete."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar


Item = TypeVar("Item")
Result = TypeVar("Result")


def as_they_come(
    work: Callable[[Item, threading.Event], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Result]]:
    """Call `work` on every item in threads.

    After an error no new item is started; pending results are yielded, then the error is raised. Threads are daemons.

    Args:
        work: Called with an item and an event that is set if the result is no longer needed.
        items: The items, started in this order.
        workers: Number of threads, 1 or more.

    Yields:
        Position of an item and its result, in order of completion.
    """
    waiting = deque(enumerate(items))
    done: queue.Queue[tuple[int, Result] | Exception | None] = queue.Queue()
    failed, unwanted = threading.Event(), threading.Event()

    def run() -> None:
        try:
            while not failed.is_set() and not unwanted.is_set():
                try:
                    position, item = waiting.popleft()
                except IndexError:
                    break
                done.put((position, work(item, unwanted)))
        except Exception as error:  # re-raised by the consumer
            failed.set()
            done.put(error)
        finally:
            done.put(None)

    running = max(1, min(workers, len(items)))
    for _ in range(running):
        threading.Thread(target=run, daemon=True).start()
    first_error: Exception | None = None
    try:
        while running:
            result = done.get()
            if result is None:
                running -= 1
            elif isinstance(result, Exception):
                first_error = first_error or result
            else:
                yield result
    finally:
        unwanted.set()
    if first_error is not None:
        raise first_error
