"""`dualselect compare`: methods and seeds to one table and one figure."""

import importlib.util
import json
import sys
import time

from dualselect.cli.options import OptionParser
from dualselect.errors import ConfigError


DESCRIPTION = """\
Compare ways to fine-tune on one task, one reference pool and one evaluation: methods times seeds, one table with
intervals, one figure of safety against utility.

The file holds the settings of dualselect train, and with them: methods (names, each with settings of its own, seeds,
and lists to choose from as tune), seeds, baseline, evaluation (suites, validation_suites, judges, ...).

The same command goes on where it stopped: runs that are done are not done again, and one that fails leaves the others
alone and is tried again, as is a judge that did not answer. Runs on other rows, or of a model that changed since, are
refused. Each run is a process of its own, so that its peak memory is its own.
"""


def run(arguments: list[str]) -> int:
    """Compare, print the table, say where things are.

    Returns:
        0 when all is done; 1 when a run failed.
    """
    parser = OptionParser(
        prog="dualselect compare",
        description=DESCRIPTION,
        epilog="example: dualselect compare --config examples/compare.yaml --output_dir runs/compare",
    )
    parser.add_argument("--config", help="YAML file, see examples/compare.yaml")
    parser.add_argument("--output_dir", help="where everything is kept, in place of the file's output_dir")
    parser.add_argument("--methods", action="store_true", help="list the methods, what each needs, and their settings")
    options = parser.parse_args(arguments)
    if options.methods:
        print(method_list())
        return 0
    if not options.config:
        raise ConfigError("config is missing: write --config with a YAML file, such as examples/compare.yaml")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            f"the figure needs matplotlib, not installed here: type {sys.executable} -m pip install "
            "'dualselect[report]'"
        )

    from dualselect.comparison import compare, read_comparison
    from dualselect.comparison.formatting import notes, table_cells
    from dualselect.system.tables import aligned

    started = time.monotonic()
    path = compare(read_comparison(options.config, options.output_dir), _tell)
    content = json.loads(path.read_text(encoding="utf-8"))
    print("\n" + aligned(table_cells(content)) + "\n")
    for line in notes(content):
        print(line)
    print(f"\n{time.monotonic() - started:.0f} seconds. Everything is in {path.parent}: {path.name}, comparison.csv, "
          "pareto.svg, runs/")  # fmt: skip
    return 1 if any(method["failed"] for method in content["methods"]) else 0


def method_list() -> str:
    """Every method: its name, where it is from, what it needs, its settings with their defaults."""
    from dualselect.methods import METHODS

    lines = []
    for name, method in METHODS.items():
        needs = ", ".join(sorted(need.replace("_", " ") for need in method.needs)) or "nothing"
        settings = method.settings if method.setting_names else getattr(method, "differences", {})
        listed = ", ".join(f"{key}: {value}" for key, value in settings.items())
        lines.append(f"{name}\n    {method.paper}; needs {needs}" + (f"\n    {listed}" if listed else ""))
    return "\n".join(lines)


def _tell(line: str) -> None:
    print(line, flush=True)
