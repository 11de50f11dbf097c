"""Exit statuses of the command line."""

import errno

from dualselect.errors import DualSelectError, GradientError


DONE, FAILED, REFUSED, GATE, INTERRUPTED = 0, 1, 2, 3, 130
EXPLAINED = """\
exit status:
  0    done
  1    the work failed: a full disk, a loss that is not finite, a run of a comparison
  2    refused: the command line, a setting, the data or the model cannot be used; the message says what to change
  3    done, and the result does not pass a limit that was set, such as audit --fail_above
  130  interrupted (128 plus the number of the signal); the same command, or --resume, goes on
"""
# What the system answers to a path that cannot be used, and not to a write that fails.
_PATHS = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}


def status_of(error: DualSelectError | OSError) -> int:
    """The exit status of an error."""
    if isinstance(error, GradientError):
        return FAILED
    if isinstance(error, DualSelectError):
        return REFUSED
    # an error that this program has worded keeps its number in its cause
    number = error.errno or getattr(error.__cause__, "errno", None)
    return REFUSED if number in _PATHS else FAILED
