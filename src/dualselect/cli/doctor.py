"""`dualselect doctor`: check whether a training would start; trains nothing, writes nothing."""

from dualselect.cli.options import OptionParser
from dualselect.cli.status import DONE, FAILED


DESCRIPTION = """\
Examine a training before it starts. Everything is read: settings, rows, model, output directory. Nothing is trained
and nothing is written. All problems are listed, not only the first.

The verdict comes first, with every setting that dualselect train would refuse, the reason and what to change. Then:
versions and hardware; the number of optimizer steps and refreshes; rows that are dropped, cut, or begin with two start
tokens, and prompts that task and references share; the first five rows of each as the model sees them, supervised
tokens marked; which trainable parameters have per-example gradients; whether batching changes these gradients on this
model; free disk space against what the checkpoints need.

It takes the settings of dualselect train, in a --config or as --key value; dualselect train --help explains them.

examples:
  dualselect doctor --config examples/smollm2_cpu.yaml
  dualselect doctor --task_data my_task.jsonl --reference_data safe_answers.jsonl --output_dir runs/first
"""
EPILOG = "exit status: 0 training would start; 1 something would be refused; 2 this command cannot be used"


def run(arguments: list[str]) -> int:
    """Check, and print the verdict and the details.

    Returns:
        0 when training would start, 1 when something would be refused.
    """
    parser = OptionParser(
        prog="dualselect doctor",
        usage="dualselect doctor [--config FILE] [--key value ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--whole_rows", action="store_true", help="show long rows whole, not only both ends")
    options, rest = parser.parse_known_args(arguments)

    from transformers.utils import logging as transformers_logging

    from dualselect.cli.parser import collect_train_arguments
    from dualselect.preflight.doctor import examine
    from dualselect.preflight.refusals import Refusals

    refusals = Refusals()
    request, has_output_dir = collect_train_arguments(rest, refusals, options=parser.names)
    assert request.settings is not None
    transformers_logging.set_verbosity_error()
    diagnosis = examine(
        request.settings,
        refusals,
        request.record,
        has_output_dir=has_output_dir,
        whole_rows=options.whole_rows,
    )
    print(diagnosis.describe())
    return DONE if diagnosis.would_start else FAILED
