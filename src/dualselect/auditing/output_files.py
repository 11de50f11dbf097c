"""Write and read the files of an audit, except `summary.json`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import torch
from datasets import Dataset, Features, List, Value, concatenate_datasets
from tqdm import tqdm

from dualselect.auditing.aggregates import Aggregates, Ranking
from dualselect.auditing.measuring import CONTROL, short
from dualselect.auditing.preparing import Prepared
from dualselect.auditing.settings import BUDGETS
from dualselect.auditing.store import ScoreStore
from dualselect.runs.audited import ROWS as ROWS
from dualselect.system.files import write_atomically, write_text
from dualselect.system.tables import csv_text


TABLE, REFERENCES, NEGATIVES = "audit.csv", "references.jsonl", "negatives.jsonl"
COLUMNS = (
    "id row kind category unscored rank score loss cosine tokens conflict p_value conflict_categories "
    "conflict_references"
).split()

SCORED_FIELDS = (
    "rank score loss cosine probe conflict_score tokens conflict p_value conflict_categories conflict_references "
    "kept categories scores"
).split()
"""Fields of scored rows; None in the lines of other rows, so that all lines have the same fields."""


_FEATURES: dict[str, Any] = {
    **dict.fromkeys(["id", "kind", "category", "unscored"], Value("string")),
    **dict.fromkeys(["row", "rank", "tokens"], Value("int64")),
    **dict.fromkeys(["risky", "conflict"], Value("bool")),
    "conflict_categories": List({"category": Value("string"), "cosine": Value("float64")}),
    "conflict_references": List({"id": Value("string"), "cosine": Value("float64")}),
}
"""Types of the fields; all others are floats."""
_BY_NAME = ("categories", "scores")
_ROWS_AT_ONCE = 10_000


def write_rows(
    folder: Path, store: ScoreStore, count: int, prepared: Prepared, ids: Sequence[str], *, labelled: bool, quiet: bool
) -> Aggregates:
    """Write the rows (JSONL and CSV), the references and the hard negatives, and aggregate over the rows.

    Args:
        folder: Output folder.
        store: The scored rows.
        count: Number of scored rows.
        prepared: Names and thresholds.
        ids: Reference ids, in pool order.
        labelled: Whether some rows are labeled risky.
        quiet: No progress bar.
    """
    ranking = Ranking.of(tqdm(store, total=count, desc="Ranking", unit="row", leave=False, disable=quiet), count)
    aggregates = Aggregates(prepared.directions.categories, labelled=labelled, quiet=quiet)

    def write(lines: BinaryIO, table: BinaryIO) -> None:
        table.write(csv_text([[*COLUMNS, *(f"kept_{budget:g}" for budget in BUDGETS)]]).encode())
        bar = tqdm(store, total=count, desc="Writing", unit="row", leave=False, disable=quiet)
        for index, scored in enumerate(bar):
            line = _line(scored, index, ranking, prepared, ids, labelled=labelled)
            aggregates.add(line, scored["counted_as"])
            lines.write((json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode())
            table.write(csv_text([_cells(line)]).encode())

    write_atomically(folder / TABLE, lambda table: write_atomically(folder / ROWS, lambda lines: write(lines, table)))
    for name, entries in ((REFERENCES, prepared.references), (NEGATIVES, prepared.negatives)):
        if entries:
            write_text(folder / name, "".join(json.dumps(it, ensure_ascii=False) + "\n" for it in entries))
    return aggregates


def read_rows(folder: Path, count: int, *, quiet: bool = False) -> Dataset:
    """Read the rows of an audit into memory.

    Args:
        folder: The audit.
        count: Number of rows, for the progress bar.
        quiet: No progress bar.
    """
    example = next((line for line in read_lines(folder / ROWS) if not line["unscored"]), None)
    columns = list(next(read_lines(folder / ROWS)))
    nested = {} if example is None else {name: dict.fromkeys(example[name], Value("float64")) for name in _BY_NAME}
    types = _FEATURES | nested | {"kept": dict.fromkeys([f"{budget:g}" for budget in BUDGETS], Value("bool"))}
    features = Features({name: types.get(name, Value("float64")) for name in columns})
    lines = iter(
        tqdm(read_lines(folder / ROWS), total=count, desc="Reading the rows", unit="row", leave=False, disable=quiet)
    )
    parts = iter(lambda: list(islice(lines, _ROWS_AT_ONCE)), [])
    return concatenate_datasets([Dataset.from_list(part, features=features) for part in parts])


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of `audit.jsonl`, `references.jsonl` or `negatives.jsonl`."""
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def _line(
    scored: Mapping[str, Any],
    index: int,
    ranking: Ranking,
    prepared: Prepared,
    ids: Sequence[str],
    *,
    labelled: bool,
) -> dict[str, Any]:
    line = {name: scored[name] for name in ("id", "row", "kind", "category")} | {"unscored": scored["lacks"]}
    if labelled:
        line["risky"] = scored["risky"]
    if scored["lacks"]:
        return line | dict.fromkeys([*SCORED_FIELDS, CONTROL] if CONTROL in prepared.tuned else SCORED_FIELDS)
    directions, harmless = prepared.directions, prepared.conflict_filter.harmless
    conflicts = [
        {"category": category, "cosine": cosine}
        for category, cosine, threshold in zip(
            directions.categories, scored["categories"], prepared.category_thresholds, strict=True
        )
        if cosine < threshold
    ]
    return {
        **line,
        "rank": int(ranking.ranks[index]),
        **{name: scored[name] for name in ("score", "loss", "cosine", "probe", "conflict_score", "tokens")},
        "conflict": scored["conflict_score"] > prepared.conflict_threshold,
        "p_value": short(float(harmless.p_values(torch.tensor([scored["conflict_score"]], dtype=torch.float64))[0])),
        "conflict_categories": sorted(conflicts, key=lambda it: it["cosine"]),
        "conflict_references": [
            {"id": ids[directions.stored[number]], "cosine": cosine} for number, cosine in scored["references"]
        ],
        "kept": ranking.keeps(index),
        "categories": dict(zip(directions.categories, scored["categories"], strict=True)),
        "scores": scored["scores"],
        **({CONTROL: scored[CONTROL]} if CONTROL in scored else {}),
    }


def _cells(line: Mapping[str, Any]) -> list[Any]:
    joined = {
        "conflict_categories": "; ".join(it["category"] for it in line["conflict_categories"] or ()),
        "conflict_references": "; ".join(it["id"] for it in line["conflict_references"] or ()),
        "conflict": "" if line["conflict"] is None else int(line["conflict"]),
    }
    kept = line["kept"]
    return [
        *(joined[name] if name in joined else line[name] for name in COLUMNS),
        *(int(kept[f"{budget:g}"]) if kept else "" for budget in BUDGETS),
    ]
