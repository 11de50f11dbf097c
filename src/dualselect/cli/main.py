"""`dualselect VERB ...`: finds the verb and turns errors that a user can mend into one line.

A verb is a module of this package with the verb's name, entered in `VERBS` below, that defines

    def run(arguments: list[str]) -> int:

`arguments` is what follows the verb, `--help` included; the result is the exit status. A verb prints what it has to
say with `print`; what the library tells through `logging` appears on standard output by itself. Errors for the user
are raised: `DualSelectError` and `OSError` become `error: ...` and the exit status of `status.py`. A verb is imported
only when it is called, so that `dualselect --help` needs no torch.
"""

import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from dualselect.cli.status import DONE, EXPLAINED, INTERRUPTED, REFUSED, status_of
from dualselect.errors import DualSelectError
from dualselect.system.nearest import nearest
from dualselect.system.processes import is_replica
from dualselect.system.terminal import Console, GuardedStream, guarded_terminal
from dualselect.system.visible import continued


VERBS = {
    "train": "fine-tune a model on your task and keep it as safe as it was",
    "doctor": "examine a training before it starts: what would be refused, and what the model would be given",
    "plan": "predict minutes, memory and disk space of a training from a few of its steps",
    "pool": "make a reference pool in the words of your model: what it refuses well, and what it helps with",
    "audit": "learn before training which rows of your data would erode which safe behavior",
    "evaluate": "measure refusals, over-refusals and task answers of a model, a run or a server",
    "compare": "compare ways to fine-tune: methods times seeds to one table and one figure",
    "continual": "learn a sequence of tasks with one model and keep the earlier ones",
    "diagnose": "see the mechanism: which references are picked for which task, how alike, and what they are worth",
    "report": "write what happened in runs as one page: what was selected, what was answered, with intervals",
    "demo": "see it work on a small built-in model and built-in data, in minutes on a CPU",
}
USAGE = """\
dualselect - fine-tune aligned language models on your task without losing their safety

usage: dualselect VERB [options]

verbs:
{verbs}

  dualselect VERB --help      everything about a verb
  dualselect --version        version of this program, also dualselect version

example:
  dualselect train --task_data my_task.jsonl --reference_data safe_answers.jsonl --output_dir runs/first

Settings can also be in a YAML file, see examples/: dualselect train --config FILE.
With DUALSELECT_DEBUG=1 in the environment (or dualselect --debug VERB ...) errors come with their traceback.

{statuses}"""
FULL_DISK = {errno.ENOSPC, errno.EDQUOT}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; None takes those of the process.

    Returns:
        Exit status, see `status.py`.
    """
    rest = list(sys.argv[1:] if arguments is None else arguments)
    debug = os.environ.get("DUALSELECT_DEBUG", "") not in ("", "0")
    if rest[:1] == ["--debug"]:
        debug, rest = True, rest[1:]
    if rest[:1] == ["help"] and len(rest) > 1:
        rest = [rest[1], "--help"]
    if not rest or rest[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return DONE if rest else REFUSED
    if rest[0] in ("--version", "-V", "version"):
        sys.stdout.write(f"dualselect {_version()}\n")
        return DONE
    # Before any import of the libraries that read it; nothing here reports to anyone unless it is asked to.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    console = Console()
    logger = logging.getLogger("dualselect")
    if is_replica():
        # the first process says it, and draws the bars, for all
        console.setLevel(logging.ERROR)
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    logger.addHandler(console)
    logger.setLevel(logging.INFO)
    try:
        with guarded_terminal() as error_stream:
            return _status(rest, error_stream, debug=debug)
    finally:
        logger.removeHandler(console)


def _status(words: Sequence[str], error_stream: GuardedStream, *, debug: bool) -> int:
    """Run a verb; a message about its end begins on a line of its own, also after a progress bar."""
    try:
        return _call(words[0], list(words[1:]))
    except SystemExit as ended:  # argparse, after a help text or its own error message
        return ended.code if isinstance(ended.code, int) else REFUSED
    except KeyboardInterrupt:
        error_stream.begin_line()
        error_stream.write("interrupted\n")
        return INTERRUPTED
    except (DualSelectError, OSError) as error:
        error_stream.begin_line()
        if debug:
            traceback.print_exc()
        error_stream.write(f"error: {continued(message_of(error))}\n")
        return status_of(error)


def message_of(error: Exception) -> str:
    """The message of an error; one of a full disk that says nothing else says what to do."""
    if not isinstance(error, OSError) or error.errno not in FULL_DISK:
        return str(error)
    file = f" for {error.filename}" if error.filename else ""
    return (
        f"the disk is full{file} ({error.strerror}). Make room there (see df -h), then type the same command again; "
        "a training goes on from its last checkpoint with --resume"
    )


def _call(verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        near = nearest(verb, VERBS)
        advice = f"did you mean {near}?" if near else "dualselect --help lists them"
        raise DualSelectError(f"{verb} is not a verb; {advice}")
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1" and (verb != "train" or "--plan" in arguments):
        verb = "plan" if verb == "train" else verb
        raise DualSelectError(
            f"{verb} runs in one process, and {processes} were started: type dualselect {verb} without torchrun"
        )
    status: int = importlib.import_module(f"dualselect.cli.{verb}").run(arguments)
    return status


def _usage() -> str:
    return USAGE.format(verbs="\n".join(f"  {verb:<10} {what}" for verb, what in VERBS.items()), statuses=EXPLAINED)


def _version() -> str:
    try:
        return version("dualselect")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
