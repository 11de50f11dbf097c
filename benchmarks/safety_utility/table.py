"""Print the tables of a comparison as Markdown, for docs/results.md.

python benchmarks/safety_utility/table.py runs/safety_utility/small

Prints the methods on all seeds, their differences to the baseline, the methods on fewer seeds, and notes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from dualselect.comparison.formatting import (
    MEANS,
    RATIOS,
    TITLES,
    WIN_RATES,
    has_fewer_seeds,
    markdown,
    notes,
    table_cells,
    title_of,
)
from dualselect.comparison.results import COMPARISON_FILE


def difference_cells(content: dict[str, Any]) -> list[list[str]]:
    """Headings and lines of the differences of rates, with one decimal."""
    rows = {
        (row["method"], title_of(row)): row["difference"]
        for row in content["rows"]
        if row["metric"] in TITLES.keys() - {*MEANS, *RATIOS, *WIN_RATES} and row["difference"] is not None
    }
    titles = list(dict.fromkeys(title for _, title in rows))
    cells = [["method", *titles]]
    for method in content["methods"]:
        found = [rows.get((method["name"], title)) for title in titles]
        if any(found):
            cells.append([method["name"], *("" if one is None else _points(one) for one in found)])
    return cells


def _points(difference: dict[str, float]) -> str:
    value, low, high = (100 * difference[end] for end in ("value", "low", "high"))
    return f"{value:+z.1f} [{low:+z.1f}, {high:+z.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    content = json.loads((parser.parse_args().comparison / COMPARISON_FILE).read_text(encoding="utf-8"))
    several = [one for one in content["methods"] if not has_fewer_seeds(one, content)]
    fewer = [one for one in content["methods"] if one not in several]
    print(f"Seeds {', '.join(map(str, content['seeds']))}; values with 95% intervals over seeds and prompts; time and "
          f"memory relative to {content['baseline']}.\n")  # fmt: skip
    print(markdown(table_cells(content | {"methods": several})))
    print(f"\nDifferences to {content['baseline']} in points, paired by prompt and seed:\n")
    print(markdown(difference_cells(content | {"methods": several})))
    if fewer:
        print("\nOn fewer seeds: of one seed, intervals are over prompts only and leave out how much seeds differ.\n")
        print(markdown(table_cells(content | {"methods": fewer})))
    if told := notes(content):
        print("\n" + "\n".join(f"- {line}" for line in told))


if __name__ == "__main__":
    main()
