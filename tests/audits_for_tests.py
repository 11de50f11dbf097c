"""Audits made up of small files, as `dualselect audit` leaves them, for tests of pages."""

import json
import random

from dualselect.auditing.aggregates import Aggregates
from dualselect.auditing.summary import AuditSummary
from dualselect.system.files import write_json, write_text


CATEGORIES = ("fraud", "privacy", "weapons")
BUDGETS = ("0.99", "0.9", "0.5")


def made_audit(folder, *, rows=30, nasty="", unscored=1, data=True):
    """An audit as it lies in its folder: a quarter of the rows risky, and those in conflict."""
    chance, counts = random.Random(0), Aggregates(CATEGORIES, labelled=True)
    lines, given = [], []
    for number in range(rows):
        kind = ("risky", "task", "chat", "lookalike")[number % 4]
        conflict = kind == "risky"
        name = f"row-{number}{nasty if number == 4 else ''}"
        cosine = chance.gauss(-0.3 if conflict else 0.1, 0.05)
        line = {"id": name, "row": number, "kind": kind, "category": "fraud" if conflict else "", "unscored": ""}
        line |= {"risky": conflict, "rank": number + 1, "score": 2 - cosine, "loss": 2.0, "cosine": cosine}
        line |= {"probe": -10 * cosine, "conflict_score": -10 * cosine}
        line |= {
            "tokens": 5, "conflict": conflict,
            "conflict_categories": [{"category": it, "cosine": -0.3} for it in CATEGORIES[: 2 * conflict]],
            "conflict_references": [{"id": f"ref-{n}", "cosine": -0.2} for n in range(3)],
            "kept": dict.fromkeys(BUDGETS, not conflict),
            "categories": dict.fromkeys(CATEGORIES, cosine),
            "scores": {"published": 2 - cosine, "loss": 2.0}, "control_loss": 2.0 + conflict,
        }  # fmt: skip
        if number >= rows - unscored:
            line = {key: line[key] for key in ("id", "row", "kind", "category", "risky")} | {
                "unscored": "empty response"
            }
        counts.add(line, kind)
        lines.append(line)
        given.append({"id": name, "kind": kind, "prompt": f"Question {number}? {nasty}", "completion": "Answer."})
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "audit.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write_text(folder / "references.jsonl", "".join(json.dumps(it) + "\n" for it in references(nasty)))
    if data:
        write_text(folder / "data.jsonl", "".join(json.dumps(row) + "\n" for row in given))
    write_json(folder / "summary.json", summary(folder, counts, rows).as_values())
    return folder


def references(nasty):
    return [
        {
            "id": f"ref-{n}", "category": CATEGORIES[n % 3], "rank": n + 1, "selected": n < 5, "score": 1.0 - n / 10,
            "loss": 2.0, "preservation_loss": 0.1, "cosine": -0.2,
            "prompt": [{"role": "user", "content": f"Harmful question {n}? {nasty}"}],
            "completion": [{"role": "assistant", "content": "I cannot."}],
        }
        for n in range(12)
    ]  # fmt: skip


def summary(folder, counts, rows):
    kinds, found = counts.kinds_as_values(), counts.all
    return AuditSummary(
        data={
            "sources": [str(folder / "data.jsonl")],
            "rows": rows,
            "sha256": "",
            "drawn": rows,
            "sample": False,
            "scored": found.scored,
            "unscored": dict(counts.unscored),
        },
        model={"name": "tiny", "fingerprint": ""},
        settings={"audit": {"score": "published"}, "training": {}, "adapter": {}},
        conflict={"threshold": -0.1, "value": 0.25, "low": 0.2, "high": 0.3, "successes": 1, "count": rows},
        recommended_budget={
            "rule": "drop what conflicts",
            "settings": {"task_token_budget": "auto", "reference_contrast": "rejected"},
            "kept_share": 0.75,
            "low": None,
            "high": None,
            "dropped_rows": 1,
            "dropped_tokens": 5,
            "tokens": 20,
        },
        all=counts.all_as_values(),
        kinds=kinds,
        categories=counts.categories_as_values(),
        budgets={},
        references={
            "pool": 12,
            "selected": 5,
            "compared": 4,
            "without_direction": ["small"],
            "without_held_out": ["single"],
            "categories": {},
        },
        detection=counts.detection_as_values([]),
        fingerprint="",
    )
