"""`dualselect continual`: learn a sequence of tasks and keep the earlier ones."""

import json
import time

from dualselect.cli.options import OptionParser
from dualselect.errors import ConfigError


DESCRIPTION = """\
Learn several tasks one after the other with one model, and measure after each what it still knows of the earlier ones.

A bounded memory of earlier rows is the reference pool: rows that the new task would make the model forget are selected
and replayed. With safety: {pool: ...}, safe responses are part of the memory, too. methods: [sequential, er,
dualselect] compares ways to learn a sequence; --methods lists them.

Six lines for two files of your own (a tenth of each is held out for the evaluation):

  output_dir: runs/sequence
  model_name_or_path: smollm2-135m-instruct
  tasks:
    - {name: tickets, data: tickets.jsonl}
    - {name: contracts, data: contracts.jsonl}
  safety: {pool: [builtin], suites: ["builtin:30"]}

The same command continues where it stopped. To learn one more task, add it at the end of the file.
"""


def run(arguments: list[str]) -> int:
    """Learn the sequence, print the table, say where things are."""
    parser = OptionParser(
        prog="dualselect continual",
        description=DESCRIPTION,
        epilog="example: dualselect continual --config examples/continual.yaml --output_dir runs/sequence",
    )
    parser.add_argument("--config", help="YAML file, see examples/continual.yaml")
    parser.add_argument("--output_dir", help="where everything is kept, in place of the file's output_dir")
    parser.add_argument("--methods", action="store_true", help="list the ways to learn a sequence")
    options = parser.parse_args(arguments)
    if options.methods:
        print(method_list())
        return 0
    if not options.config:
        raise ConfigError("config is missing: write --config with a YAML file, such as examples/continual.yaml")

    from dualselect.sequences import learn_sequence, read_sequence
    from dualselect.sequences.table import table_cells
    from dualselect.system.tables import aligned

    started = time.monotonic()
    path = learn_sequence(read_sequence(options.config, options.output_dir), _tell)
    print("\n" + aligned(table_cells(json.loads(path.read_text(encoding="utf-8")))) + "\n")
    print(f"{time.monotonic() - started:.0f} seconds. Everything is in {path.parent}: {path.name}, runs/, tasks/")
    print(f"As a page: dualselect report {path.parent}")
    return 0


def method_list() -> str:
    """Every way to learn a sequence: its name, and the method that it uses."""
    from dualselect.methods import METHODS
    from dualselect.sequences.config import SEQUENCE_METHODS

    lines = []
    for name, (base, different) in SEQUENCE_METHODS.items():
        changed = ", ".join(f"{key}: {value}" for key, value in different.items())
        lines.append(f"{name}\n    {METHODS[base].paper}" + (f"\n    {changed}" if changed else ""))
    return "\n".join(lines)


def _tell(line: str) -> None:
    print(line, flush=True)
