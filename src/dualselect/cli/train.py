"""`dualselect train`: one run from files to an adapter."""

import sys

from dualselect.cli.main import INTERRUPTED
from dualselect.cli.parser import parse_train_arguments


def run(arguments: list[str]) -> int:
    """Train one run and say what came out of it."""
    request = parse_train_arguments(arguments)
    if request.settings is None:
        sys.stdout.write(request.help_text)
        return 0

    from transformers.utils import logging as transformers_logging

    from dualselect.training import train_run

    transformers_logging.set_verbosity_error()
    outcome = train_run(request.settings, request.record)
    print(f"{outcome.steps} steps, {outcome.seconds:.0f} seconds")
    for kind, (dropped, seen) in outcome.dropped.items():
        print(f"  {kind}: {dropped} of {seen} dropped")
    config = outcome.run.config
    if not outcome.finished:
        print(f"interrupted after step {outcome.steps}; to go on: dualselect train --config {config} --resume")
        return INTERRUPTED
    print(f"adapter:       {outcome.run.adapter}")
    print(f"what was kept: {outcome.run.selection}")
    print(f"to repeat it:  dualselect train --config {config} --output_dir ANOTHER")
    return 0
