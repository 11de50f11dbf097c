"""`dualselect report`: runs and comparisons as one page, or the page of an audit or of a sequence of tasks."""

import argparse
import importlib.util
import sys
from pathlib import Path

from dualselect.cli.options import OptionParser
from dualselect.errors import ConfigError
from dualselect.runs.directory import REPORT


PAGE_PACKAGES = ("jinja2", "matplotlib")


def run(arguments: list[str]) -> int:
    """Write the page, and say where it is."""
    parser = OptionParser(
        formatter_class=argparse.HelpFormatter,
        prog="dualselect report",
        description="Write what happened in runs and comparisons as one HTML page that opens from disk and needs no "
        "network: safety and utility with intervals, what was selected and why, every row and every response. An "
        "audit and a sequence of tasks have pages of their own. A page holds texts of your data and of the "
        "evaluations: mind with whom you share it.",
        epilog="example: dualselect report runs/first runs/second --output both.html",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folder of a run, a comparison, an audit or a sequence, or JSON of an evaluation",
    )
    parser.add_argument("--output", type=Path, help=f"the page (PATH/{REPORT}; must be said for several paths)")
    options = parser.parse_args(arguments)
    check_page_packages("the page of a report")
    first: Path = options.paths[0]
    if options.output is None and len(options.paths) > 1:
        raise ConfigError(f"{len(options.paths)} paths make one page: say where with --output, such as both.html")
    output = options.output or (first.with_suffix(".html") if first.is_file() else first / REPORT)
    if output.is_dir():
        raise ConfigError(f"--output {output} is a folder: name a file, such as {output / REPORT}")

    from dualselect.report.audit_page import is_audit, write_audit_page
    from dualselect.report.continual_page import is_sequence, write_continual_page
    from dualselect.report.page import check_page, write_report

    check_page(output)
    if audits := [str(path) for path in options.paths if is_audit(path)]:
        if len(options.paths) > 1:
            raise ConfigError(f"{', '.join(audits)}: an audit has a page of its own: name it alone")
        page = write_audit_page(first, output).resolve()
    elif sequences := [str(path) for path in options.paths if is_sequence(path)]:
        if len(options.paths) > 1:
            raise ConfigError(f"{', '.join(sequences)}: a sequence of tasks has a page of its own: name it alone")
        page = write_continual_page(first, output).resolve()
    else:
        page = write_report(options.paths, output).resolve()
    print(f"the page: {page} ({page.stat().st_size / 1e6:.1f} MB)")
    return 0


def check_page_packages(what: str) -> None:
    """Refuse to go on without the packages of the extra `report`.

    Raises:
        ConfigError: One is missing; the message says what to type.
    """
    if missing := [name for name in PAGE_PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"{what} needs {' and '.join(missing)}, not installed here: type "
            f"{sys.executable} -m pip install 'dualselect[report]'"
        )
