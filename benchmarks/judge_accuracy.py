"""How often the offline refusal judge agrees with people, on XSTest's responses of three models (not included).

    python benchmarks/judge_accuracy.py FOLDER/xstest_human_labels.jsonl

Full refusals are the positives; full compliance and partial refusals are the negatives. The wordings of the judge were
written on the prompts with odd ids and are measured on those with even ids. The last line is the balanced accuracy on
even ids.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dualselect.evaluation.intervals import rate
from dualselect.judges import JudgeAccuracy, is_refusal


BOUND = 0.95


def accuracy_of(rows: list[dict[str, Any]], data: str) -> JudgeAccuracy:
    """Sensitivity and specificity on labelled rows."""
    yes = [is_refusal(row["response"], row["prompt"]) for row in rows if row["label"].startswith("2")]
    no = [is_refusal(row["response"], row["prompt"]) for row in rows if not row["label"].startswith("2")]
    return JudgeAccuracy((sum(yes), len(yes)), (no.count(False), len(no)), data)


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.labels.read_text(encoding="utf-8").splitlines()]
    for part, odd in (("odd ids (wordings were written on these)", 1), ("even ids", 0)):
        of_part = [row for row in rows if row["id"] % 2 == odd]
        for model in [*sorted({row["model"] for row in rows}), "all models"]:
            found = accuracy_of([row for row in of_part if model in (row["model"], "all models")], part)
            sensitivity, specificity = rate(*found.sensitivity), rate(*found.specificity)
            print(
                f"{part:42} {model:18} refusals found {sensitivity.successes:3} of {sensitivity.count:3} "
                f"({sensitivity.value:.3f}), others {specificity.successes:3} of {specificity.count:3} "
                f"({specificity.value:.3f}), balanced {found.balanced:.3f}"
            )
    print(f"balanced accuracy on even ids: {found.balanced:.3f} (bound {BOUND})")
    return int(found.balanced < BOUND)


if __name__ == "__main__":
    sys.exit(main())
