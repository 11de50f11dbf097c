"""A folder that another process is at work in."""

import fcntl
from contextlib import contextmanager

from dualselect.system.lock import FOLDER_LOCK


@contextmanager
def lock_of_another_process(folder):
    """Hold the lock through a descriptor of its own, which is to the system what another process is."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FOLDER_LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
