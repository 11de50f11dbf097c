"""The table of a comparison as Markdown, for docs/results.md.

python benchmarks/safety_utility/table.py runs/safety_utility/small

One table of the methods on all seeds, one of those on fewer, and under them what a reader must know.
"""

import argparse
import json
from pathlib import Path

from dualselect.comparison.results import COMPARISON_FILE
from dualselect.comparison.text import markdown, notes, table_cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    content = json.loads((parser.parse_args().comparison / COMPARISON_FILE).read_text(encoding="utf-8"))
    several = [one for one in content["methods"] if not 0 < len(one["seeds"]) < len(content["seeds"])]
    fewer = [one for one in content["methods"] if one not in several]
    print(f"Seeds {', '.join(map(str, content['seeds']))}; values with 95% intervals over seeds and prompts; time and "
          f"memory relative to {content['baseline']}.\n")  # fmt: skip
    print(markdown(table_cells(content | {"methods": several})))
    if fewer:
        print("\nOn fewer seeds: of one seed, intervals are over prompts only and leave out how much seeds differ.\n")
        print(markdown(table_cells(content | {"methods": fewer})))
    if told := notes(content):
        print("\n" + "\n".join(f"- {line}" for line in told))


if __name__ == "__main__":
    main()
