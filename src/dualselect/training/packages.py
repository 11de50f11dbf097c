"""Optional packages that training settings need, checked before any model is loaded."""

import difflib
import re

from transformers import Trainer, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from dualselect.errors import ConfigError
from dualselect.system.packages import install_command


def check_packages(args: TrainingArguments) -> None:
    """Reject trackers and optimizers whose packages are not installed.

    transformers creates each of them here, as its trainer does later, so its own checks decide.

    Raises:
        ConfigError: A tracker or optimizer is unknown or cannot be used. The message says what to install.
    """
    for name in args.report_to or []:
        _check_tracker(name)
    _check_optimizer(args)


def _check_tracker(name: str) -> None:
    known = [*INTEGRATION_TO_CALLBACK, "all", "none"]
    if name not in INTEGRATION_TO_CALLBACK:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}"
        raise ConfigError(f"report_to: {name} is not a tracker that transformers knows; {advice}")
    callback = INTEGRATION_TO_CALLBACK[name]
    # some end their tracker's run when they are deleted; this prints an error if they could not be created
    trial = type(callback.__name__, (callback,), {"__del__": lambda _: None})
    try:
        trial()
    except (ImportError, RuntimeError, ValueError) as error:
        package = _package_in(str(error)) or (name if "install" in str(error) else "")
        if not package:
            raise ConfigError(f"report_to: {name} cannot be used: {error}; or write report_to: none") from error
        raise ConfigError(
            f"report_to: {name} needs a package that is not installed: type {install_command(package)}, or write "
            "report_to: none"
        ) from error


def _check_optimizer(args: TrainingArguments) -> None:
    name = getattr(args.optim, "value", args.optim)
    try:
        Trainer.get_optimizer_cls_and_kwargs(args)
    except (ImportError, ValueError) as error:
        if package := _package_in(str(error)):
            raise ConfigError(
                f"optim: {name} needs a package that is not installed: type {install_command(package)}, or write "
                "optim: adamw_torch"
            ) from error
        # with target modules, only the model is missing; it is not loaded yet
        if isinstance(error, ImportError) or args.optim_target_modules is None:
            raise ConfigError(f"optim: {name} cannot be used: {error}; or write optim: adamw_torch") from error


def _package_in(message: str) -> str | None:
    """The package that a message of transformers says to install."""
    found = re.search(r"pip install (?:-U )?['\"]?([^\s`'\"]+)|[Pp]lease install (https://\S+)", message)
    if found is None:
        return None
    return found[1].rstrip(".,") if found[1] else f"git+{found[2]}"
