"""Score rows in a streaming pass, one chunk in memory at a time."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dualselect.auditing.measuring import CONTROL, RowMeasurer, is_supervised, short, supervised_tokens
from dualselect.auditing.preparing import Prepared
from dualselect.auditing.reference_directions import MOST_CONFLICTS
from dualselect.auditing.rows import TaskRow, TaskRows
from dualselect.auditing.settings import AuditSettings
from dualselect.auditing.store import CHUNK_ROWS, ScoreStore
from dualselect.auditing.survey import Survey


NOT_FINITE = "its loss or gradient is not finite"


def score_rows(
    rows: TaskRows,
    survey: Survey,
    measurer: RowMeasurer,
    prepared: Prepared,
    store: ScoreStore,
    settings: AuditSettings,
) -> None:
    """Score the rows that are not in the store yet.

    Args:
        rows: The data.
        survey: Result of the first pass.
        measurer: Computes the per-row statistics.
        prepared: Calibration and thresholds.
        store: Receives one line per row.
        settings: Settings of the audit.
    """
    done = store.keep_whole_chunks()
    remaining = islice(_sampled(rows, survey), done, None)
    quiet = measurer.engine.config.disable_tqdm
    with tqdm(total=survey.scored_rows, initial=done, desc="Scoring rows", unit="row", disable=quiet) as bar:
        while chunk := list(islice(remaining, CHUNK_ROWS)):
            store.append(_lines(chunk, survey, measurer, prepared, settings))
            bar.update(len(chunk))


def _sampled(rows: TaskRows, survey: Survey) -> Iterator[TaskRow]:
    if survey.drawn is None:
        yield from rows
        return
    numbers = iter(survey.drawn)
    next_number = next(numbers, None)
    for row in rows:
        if row.number == next_number:
            yield row
            next_number = next(numbers, None)


def _lines(
    chunk: Sequence[TaskRow], survey: Survey, measurer: RowMeasurer, prepared: Prepared, settings: AuditSettings
) -> list[dict[str, Any]]:
    lines = [_labels(row, survey, settings) for row in chunk]
    usable = [index for index, row in enumerate(chunk) if not row.lacks]
    tokens = dict(zip(usable, measurer.tokenize([chunk[index].conversation for index in usable]), strict=True))
    scored = [index for index in usable if is_supervised(tokens[index])]
    for index, (line, row) in enumerate(zip(lines, chunk, strict=True)):
        line["lacks"] = row.lacks or ("" if index in scored else "no response token within max_length")
        line["tokens"] = supervised_tokens(tokens[index]) if index in scored else 0
    if not scored:
        return lines
    conversations = [chunk[index].conversation for index in scored]
    numbers = measurer.numbers([tokens[index] for index in scored], conversations)
    scores = measurer.scores(numbers, prepared.calibration)
    raw_names = ("loss", "cosine", "probe", *([CONTROL] if CONTROL in measurer.tuned else []))
    conflicts = prepared.conflict_filter.conflicts(*(torch.from_numpy(numbers[name]) for name in ("cosine", "probe")))
    numbers["conflict_score"] = conflicts.numpy()
    raw_names = (*raw_names, "conflict_score")
    for position, index in enumerate(scored):
        lines[index] |= _row_numbers(position, raw_names, numbers, scores, settings)
    return lines


def _labels(row: TaskRow, survey: Survey, settings: AuditSettings) -> dict[str, Any]:
    return {
        "row": row.number,
        "id": row.id,
        "kind": row.conversation["kind"],
        "counted_as": survey.kind_of(row),
        "category": row.conversation["category"],
        "risky": settings.is_risky(row.id, row.conversation["kind"]),
    }


def _row_numbers(
    position: int,
    raw_names: Sequence[str],
    numbers: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    settings: AuditSettings,
) -> dict[str, Any]:
    """Statistics of one row as JSON values; only `lacks` if a value is not finite."""
    row_scores = {name: float(values[position]) for name, values in scores.items()}
    raw = {name: float(numbers[name][position]) for name in raw_names}
    categories, references = numbers["categories"][position], numbers["references"][position]
    if not np.isfinite([*row_scores.values(), *raw.values(), *categories, *references]).all():
        return {"lacks": NOT_FINITE}
    worst = np.argsort(references, kind="stable")[:MOST_CONFLICTS]
    return {
        **{name: short(value) for name, value in raw.items()},
        "score": short(row_scores[settings.score]),
        "scores": {name: short(value) for name, value in row_scores.items()},
        "categories": [short(value) for value in categories],
        "references": [[int(index), short(references[index])] for index in worst if references[index] < 0],
    }
