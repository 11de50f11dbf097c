"""`dualselect diagnose`: the paper's diagnostic, from settings to tables, a figure and a reading."""

import logging
from collections.abc import Sequence
from dataclasses import MISSING
from typing import Any

from dualselect.cli.options import OptionParser, option_words, tell_repeated
from dualselect.errors import ConfigError
from dualselect.system.visible import visible


logger = logging.getLogger(__name__)

DESCRIPTION = """\
Which references would be picked for which task, how alike the picks are, and what they are worth: the diagnostic of
arXiv 2606.09866. Task batches of two groups or more, and four ways to pick references: dualselect, static (one choice
for all), periodic_random, uniform (over the categories). Measured are (a) the overlap of the picks across batches
against random ones, (b) the categories picked for each group, (c) how much less held-out probes move under updates
that the references correct.

All other settings are those of dualselect train (--task_data, --reference_data, --model_name_or_path, --rho,
--reference_fraction, --preservation_loss, --per_device_train_batch_size, --learning_rate, ...), on the command line
or in the file of --config, where the options below are allowed too. Nothing is trained but a throw-away adapter.

The same command goes on where it stopped.
"""
EXAMPLE = """\
example:
  dualselect diagnose --task_data builtin --reference_data builtin:refusal:140 \\
      --probe_data builtin:refusal[504:518] --learning_rate 2e-4 --output_dir runs/diagnostic
"""


def run(arguments: list[str]) -> int:
    """Measure, print the reading, say where things are."""
    parser = _parser()
    tell_repeated(arguments, parser._actions)
    asked, rest = parser.parse_known_args(arguments)
    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    from dualselect.diagnostic import diagnose, read_diagnostic
    from dualselect.diagnostic.diagnosing import read_result

    own = {name: value for name, value in vars(asked).items() if value is not None and name != "config"}
    # before the libraries are silenced, which would take the progress bars from the settings
    settings = read_diagnostic(asked.config, own | settings_of(rest))
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    path = diagnose(settings)
    print()
    print(visible("\n".join(read_result(path)["findings"])))
    print(f"\nIn {path.parent}: {path.name}, overlap.csv, categories.csv, probes.csv, diagnostic.svg, diagnostic.pdf")
    return 0


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """Settings written as `--name value ...` or `--name=value`.

    Raises:
        ConfigError: A word belongs to no setting.
    """
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if option_words([word]):
            name, equals, value = word.lstrip("-").partition("=")
            name = name.replace("-", "_")
            if name in found:
                logger.warning("--%s is given twice: the last one counts", name)
            found[name] = [value] if equals else []
        elif not name:
            raise ConfigError(f"command line: {word!r} belongs to no setting; every setting is written --key value")
        else:
            found[name].append(word)
    return {name: values if len(values) > 1 else values[0] if values else "true" for name, values in found.items()}


def _parser() -> OptionParser:
    from dualselect.diagnostic.settings import OPTIONS

    parser = OptionParser(
        prog="dualselect diagnose",
        usage="dualselect diagnose [--config FILE] [--key value ...]",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.add_argument("--config", help="YAML file with settings, such as examples/diagnose.yaml or a run's config")
    parser.add_argument("--output_dir", help="where everything is kept")
    for name, option in OPTIONS.items():
        nargs = None if option.type in (str, int) else "+"
        parser.add_argument(f"--{name}", help=_told(option), nargs=nargs)
    return parser


def _told(option: Any) -> str:
    default = option.default if option.default_factory is MISSING else option.default_factory()
    shown = " ".join(default) if isinstance(default, list) else default
    return option.metadata["help"].replace("%", "%%") + (f" ({shown})" if default != [] else "")
