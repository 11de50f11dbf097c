"""`dualselect train`: one run, from settings to adapter."""

from dualselect.cli import plan
from dualselect.cli.parser import parse_train_arguments
from dualselect.models.foreign_code import SETTING as TRUST
from dualselect.runs.summary import RunSummary
from dualselect.system.processes import is_main_process, is_replica, train_command


PLAN = "--plan"


def run(arguments: list[str]) -> int:
    """Parse, train, and say where things are; with `--plan`, say what it would take.

    Returns:
        0 when the run is finished; 128 plus the signal's number when it was interrupted and can be resumed.
    """
    if PLAN in arguments:
        return plan.run([word for word in arguments if word != PLAN])
    request = parse_train_arguments(arguments)
    if request.settings is None:
        print(request.help_text)
        return 0

    from transformers.utils import logging as transformers_logging

    from dualselect.runs.train import train_run

    transformers_logging.set_verbosity_error()
    if is_replica():
        transformers_logging.disable_progress_bar()
    summary = train_run(request.settings, request.record)
    if is_main_process():
        print(ending(summary, trusts_code=request.settings.training.trust_remote_code))
    return 0 if summary.interrupted_by is None else 128 + summary.interrupted_by


def ending(summary: RunSummary, *, trusts_code: bool = False) -> str:
    """What is printed last.

    Args:
        summary: Of the run.
        trusts_code: Whether the run used code that comes with its model, which the commands to type must say again.
    """
    trust = f" --{TRUST}" if trusts_code else ""
    folder = summary.directory
    lines = ["", summary.describe(), ""]
    if summary.interrupted_by is not None:
        lines += [
            "interrupted; continue with",
            f"  {train_command()} --config {folder}/config.yaml --resume{trust}",
        ]
        return "\n".join(lines)
    lines += [
        f"adapter    {folder}/adapter",
        f"selection  {folder}/selection.jsonl",
        f"metrics    {folder}/metrics.jsonl",
        f"again      {train_command()} --config {folder}/config.yaml --output_dir ANOTHER{trust}",
    ]
    return "\n".join(lines)
