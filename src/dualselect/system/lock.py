"""Folders and files that one process uses at a time.

A lock is held by the operating system, so that of a killed process is released.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dualselect.errors import ResumeError
from dualselect.system.processes import is_main_process


FOLDER_LOCK = ".dualselect.lock"
ADVICE = "wait until it has ended or stop it, or name another folder with --output_dir"


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder that a command writes into; the folder is created.

    The thread that holds it may take it again. A folder that was created here and
    holds nothing else in the end is removed. Of several processes of one run, the main process holds it.

    Args:
        folder: The folder, such as an output_dir.

    Raises:
        ResumeError: Another process holds it.
        OSError: The folder cannot be created or written.
    """
    if not is_main_process():
        yield
        return
    path = Path(folder).absolute()
    lock = path / FOLDER_LOCK
    with ExitStack() as stack:
        created = [parent for parent in (path, *path.parents) if not parent.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            refusal = f"{path} is in use by another dualselect process: {ADVICE}"
            is_outer = stack.enter_context(file_lock(lock, refusal, reentrant=True))
        except OSError as error:
            raise OSError(
                f"output_dir {path} cannot be written: {error.strerror or error}. Make room or permit writing there, "
                "or choose another folder with --output_dir."
            ) from error
        try:
            yield
        finally:
            if is_outer:
                _remove_if_unused(lock, created)


def _remove_if_unused(lock: Path, created: list[Path]) -> None:
    if not lock.parent.is_dir() or any(entry != lock for entry in lock.parent.iterdir()):
        return
    lock.unlink(missing_ok=True)
    for folder in created:
        with suppress(OSError):  # something else lies there by now
            folder.rmdir()


@contextmanager
def file_lock(path: Path, refusal: str, *, reentrant: bool = False) -> Iterator[bool]:
    """Hold a lock file.

    Args:
        path: The lock file; it stays where it is after the release.
        refusal: The message when it is held.
        reentrant: Whether the thread that holds it may take it again.

    Yields:
        Whether it was taken here, and not by an outer block of this thread.

    Raises:
        ResumeError: It is held.
    """
    lock = FileLock(path.resolve(), is_singleton=reentrant)
    is_outer = not lock.is_locked
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResumeError(refusal) from None
    try:
        yield is_outer
    finally:
        lock.release()


def held(folder: Path) -> list[Path]:
    """The lock files in a folder that are held."""
    return [path for path in sorted(folder.glob(".*.lock")) if _is_held(path)]


def _is_held(path: Path) -> bool:
    try:
        with file_lock(path, ""):
            return False
    except ResumeError:
        return True
