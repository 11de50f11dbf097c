"""What can go wrong for a user: every message says what was seen, why it is refused, what to change."""


class DualSelectError(ValueError):
    """Base of every error that a user can mend; the command line prints it without a traceback."""


class ConfigError(DualSelectError):
    """A setting, or a combination of settings, that cannot be run."""


class DataError(DualSelectError):
    """A file, a row or a column that cannot be used."""


class ModelError(DualSelectError):
    """A model or tokenizer that cannot be loaded or cannot be trained here."""


class GradientError(DualSelectError):
    """A trainable parameter whose per-example gradient cannot be computed, or a gradient that is not finite."""


class ResumeError(DualSelectError):
    """A checkpoint or run directory that does not fit the run that wants to continue it."""


class JudgeError(DualSelectError):
    """A judge that is not known, is set up wrongly, or cannot be reached at all."""
