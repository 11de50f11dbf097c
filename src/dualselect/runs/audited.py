"""`train --audit`: the decisions of an audit, in place of those of the training."""

import copy
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dualselect.data.source_rows import SourceRows
from dualselect.errors import DataError
from dualselect.runs.settings import RunSettings


logger = logging.getLogger(__name__)

SUMMARY, ROWS = "summary.json", "audit.jsonl"
"""Files of an audit; `auditing/` writes them."""


def with_audit(settings: RunSettings) -> RunSettings:
    """The settings of a run that follows an audit: nothing else is dropped."""
    if settings.data.audit is None:
        return settings
    training = copy.copy(settings.training)
    training.task_token_budget, training.task_top_k = "1.0", None
    return RunSettings(settings.data, training, settings.model)


def without_conflicts(rows: SourceRows, folder: Path) -> SourceRows:
    """The task rows that an audit does not find in conflict.

    Args:
        rows: The task rows, with `id`.
        folder: The folder of the audit.

    Raises:
        DataError: The audit is missing, unfinished, of a sample or of other rows, or no row is left.
    """
    if not (folder / SUMMARY).exists():
        raise DataError(f"--audit {folder}: no finished audit there: run dualselect audit --output_dir {folder} first")
    if json.loads((folder / SUMMARY).read_text("utf-8"))["data"]["sample"]:
        raise DataError(f"--audit {folder}: that audit scored a sample of the rows: audit without --sample")
    decided: dict[str, bool] = {}
    unscored: list[str] = []
    for line in _lines(folder / ROWS):
        decided[line["id"]] = bool(line["conflict"])
        if line["unscored"]:
            unscored.append(line["id"])
    ids = list(rows.dataset["id"])
    missing = [name for name in ids if name not in decided]
    if missing or len(decided) != len(ids):
        seen = (
            f"{len(missing)} task rows are not in the audit ({', '.join(missing[:3])})"
            if missing
            else (f"the audit has {len(decided)} rows, the task data {len(ids)}")
        )
        raise DataError(f"--audit {folder}: {seen}: audit the same task data again")
    kept = [index for index, name in enumerate(ids) if not decided[name]]
    if not kept:
        raise DataError(f"--audit {folder}: all {len(ids)} rows are in conflict: look at the audit, or leave it out")
    logger.info(
        "audit %s: %d of %d task rows are in conflict and left out; %d could not be scored and are kept",
        folder,
        len(ids) - len(kept),
        len(ids),
        len(unscored),
    )
    return replace(rows, dataset=rows.dataset.select(kept))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)
