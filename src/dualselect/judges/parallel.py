"""Work in a few threads whose results come out as they arrive."""

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
    """Do the work on every item in a few threads.

    After an error nothing new is begun; what is under way is finished and yielded, then the error is raised. The
    threads do not outlive the program.

    Args:
        work: Called with an item and an event that is set once its result is no longer wanted.
        items: What to work on, begun in this order.
        workers: How many at once, 1 or more.

    Yields:
        Position of an item and its result, as they come.
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
        except Exception as error:  # raised again by the reader
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
