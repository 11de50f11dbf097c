"""`dualselect plan`: predict time, memory and disk space of a training from a few real steps."""

import time
from pathlib import Path

from dualselect.cli.options import OptionParser, tell_repeated
from dualselect.errors import ConfigError


DESCRIPTION = """\
Predict what a training will take. A few real optimizer steps and a reference refresh of a slice of the pool run in a
temporary folder, which is removed; the output directory is not touched.

Printed are optimizer steps and refreshes; minutes in all, and of each part; the peak memory of a step of the longest
rows and of a refresh, with the arithmetic; disk space for checkpoints and adapter; with --memory, what to change to
fit into it. On a CPU, peak memory is the resident memory of the process.

It takes the settings of dualselect train, in a --config or as --key value; dualselect train --help explains them.
dualselect train --plan ... does the same.

examples:
  dualselect plan --config examples/smollm2_cpu.yaml
  dualselect plan --config runs/first/config.yaml --output_dir runs/second --memory 24GB
"""
EPILOG = "exit status: 0 done; 2 something given cannot be used (dualselect doctor lists all of it); 1 the work failed"


def run(arguments: list[str]) -> int:
    """Measure, and print the plan."""
    started = time.monotonic()
    parser = _parser()
    tell_repeated(arguments, parser._actions)
    options, rest = parser.parse_known_args(arguments)
    if options.seconds < 0:
        raise ConfigError(f"--seconds is {options.seconds:g}: it must be 0 or more")

    from transformers.utils import logging as transformers_logging

    from dualselect.cli.parser import parse_train_arguments
    from dualselect.preflight.memory import memory_size
    from dualselect.preflight.plan import plan_run
    from dualselect.system.files import write_json

    memory = None if options.memory is None else memory_size(options.memory)
    request = parse_train_arguments(rest, options=parser.names)
    if request.settings is None:
        print(request.help_text)
        return 0
    transformers_logging.set_verbosity_error()
    plan = plan_run(request.settings, memory=memory, seconds=options.seconds, started=started)
    print(plan.describe())
    if options.json is not None:
        write_json(options.json, plan.numbers)
    return 0


def _parser() -> OptionParser:
    parser = OptionParser(
        prog="dualselect plan",
        usage="dualselect plan [--config FILE] [--key value ...] [--memory SIZE]",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--memory", help="list changes that make the run fit into this memory, such as 24GB")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="minimum time for which optimizer steps are measured (%(default)g)"
    )
    parser.add_argument("--json", type=Path, help="also write the numbers into this JSON file: seconds and bytes")
    return parser
