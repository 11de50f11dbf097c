"""`dualselect demo`: the whole story on a small model, in minutes."""

import argparse
import importlib.util
import os
import sys
import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualselect.cli.options import OptionParser
from dualselect.errors import ConfigError


PAGE_PACKAGES = ("jinja2", "matplotlib")


def run(arguments: list[str]) -> int:
    """Run the demonstration, print its table, open its page."""
    parser = OptionParser(
        formatter_class=argparse.HelpFormatter,
        prog="dualselect demo",
        description="Give SmolLM2-135M its safety, fine-tune it on built-in data, 15% of it risky, plainly and "
        "with DualSelect, and measure. Under 10 minutes on two CPU cores; finished stages are kept, so a second "
        "call goes on where the first stopped.",
        epilog="example: dualselect demo --output_dir demo-run",
    )
    parser.add_argument(
        "--output_dir", type=Path, default=Path("demo-run"), help="where everything is kept (demo-run)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of data, order and initial adapters (0)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size: shows the way, measures nothing")
    parser.add_argument("--no_browser", action="store_true", help="do not open the page")
    options = parser.parse_args(arguments)
    _check_page_packages()

    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    from dualselect.demo import MEASURES, MODELS, DemoSettings, run_demo
    from dualselect.report.demo_page import verdict_of, write_demo_page

    transformers_logging.set_verbosity_error()
    # the bars that remain are those of the stages
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    settings = DemoSettings(seed=options.seed)
    if options.quick:
        settings = DemoSettings(options.seed, alignment_steps=6, task_rows=40, references=16, prompts=6)
    start = time.monotonic()
    try:
        measures = run_demo(options.output_dir, settings, tell)
    except KeyboardInterrupt:
        print("\nThe same command goes on after the last finished stage.", flush=True)
        raise
    page = write_demo_page(options.output_dir, MODELS, MEASURES).resolve()
    print(f"\n{verdict_of(options.output_dir, MODELS)}\n")
    print(table(measures, MODELS, MEASURES))
    print(f"\n{time.monotonic() - start:.0f} seconds. The page: {page}")
    if can_show_a_page() and not options.no_browser:
        webbrowser.open(page.as_uri())
    return 0


def _check_page_packages() -> None:
    if missing := [name for name in PAGE_PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"the page of the demo needs {' and '.join(missing)}, not installed here: type "
            f"{sys.executable} -m pip install 'dualselect[report]'"
        )


def tell(line: str) -> None:
    """Print a stage's line at once."""
    print(line, flush=True)


def table(measures: Mapping[str, Any], models: Mapping[str, str], names: Mapping[str, str]) -> str:
    """The measures as aligned text, rates in percent with their 95% intervals."""
    from dualselect.evaluation.little_safety import little_refused

    rows = [["", *names.values()]]
    for model, called in models.items():
        rates = [measures[model][kind] for kind in names]
        rows.append(
            [called]
            + [
                f"{100 * rate['successes'] / rate['count']:3.0f}% [{100 * rate['low']:.0f}, {100 * rate['high']:.0f}]"
                for rate in rates
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    start = measures["start"]["refusal"]
    lines += little_refused(start["successes"], start["count"])
    for model, called in models.items():
        if empty := sum(measures[model][kind]["empty"] for kind in names):
            lines.append(f"{called}: {empty} responses are empty; an empty response is neither refusal nor answer.")
    return "\n".join(lines)


def can_show_a_page() -> bool:
    """Whether somebody sits in front of a screen."""
    if os.environ.get("CI") or not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
