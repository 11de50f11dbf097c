"""The streaming pass: every row to a line of numbers, a chunk of rows in memory at a time."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from dualselect.auditing.bearings import MOST_CONFLICTS
from dualselect.auditing.measuring import CONTROL, Measuring, is_supervised, short, supervised_tokens
from dualselect.auditing.preparing import Prepared
from dualselect.auditing.rows import TaskRow, TaskRows
from dualselect.auditing.settings import AuditSettings
from dualselect.auditing.store import CHUNK_ROWS, ScoreStore
from dualselect.auditing.survey import Survey


NOT_FINITE = "its loss or gradient is not finite"


def score_rows(
    rows: TaskRows,
    survey: Survey,
    measuring: Measuring,
    prepared: Prepared,
    store: ScoreStore,
    settings: AuditSettings,
) -> None:
    """Score the rows that the store does not hold yet.

    Args:
        rows: The data.
        survey: Of the first pass.
        measuring: What measures rows.
        prepared: Calibration and names.
        store: Where the lines go.
        settings: What is asked for.
    """
    done = store.keep_whole_chunks()
    wanted = islice(_drawn(rows, survey), done, None)
    quiet = measuring.engine.config.disable_tqdm
    with tqdm(total=survey.scored_rows, initial=done, desc="Scoring rows", unit="row", disable=quiet) as bar:
        while chunk := list(islice(wanted, CHUNK_ROWS)):
            store.append(_lines(chunk, survey, measuring, prepared, settings))
            bar.update(len(chunk))


def _drawn(rows: TaskRows, survey: Survey) -> Iterator[TaskRow]:
    if survey.drawn is None:
        yield from rows
        return
    drawn = iter(survey.drawn)
    following = next(drawn, None)
    for row in rows:
        if row.number == following:
            yield row
            following = next(drawn, None)


def _lines(
    chunk: Sequence[TaskRow], survey: Survey, measuring: Measuring, prepared: Prepared, settings: AuditSettings
) -> list[dict[str, Any]]:
    lines = [_labels(row, survey, settings) for row in chunk]
    whole = [place for place, row in enumerate(chunk) if not row.lacks]
    tokens = dict(zip(whole, measuring.tokenize([chunk[place].conversation for place in whole]), strict=True))
    scored = [place for place in whole if is_supervised(tokens[place])]
    for place, (line, row) in enumerate(zip(lines, chunk, strict=True)):
        line["lacks"] = row.lacks or ("" if place in scored else "no response token within max_length")
        line["tokens"] = supervised_tokens(tokens[place]) if place in scored else 0
    if not scored:
        return lines
    conversations = [chunk[place].conversation for place in scored]
    numbers = measuring.numbers([tokens[place] for place in scored], conversations)
    scores = measuring.scores(numbers, prepared.calibration)
    told = ("loss", "cosine", CONTROL) if CONTROL in measuring.tuned else ("loss", "cosine")
    for position, place in enumerate(scored):
        lines[place] |= _found(position, told, numbers, scores, settings)
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


def _found(
    position: int,
    told: Sequence[str],
    numbers: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    settings: AuditSettings,
) -> dict[str, Any]:
    """What a line says of a row; a row whose numbers are not finite has none, and the line says so."""
    values = {name: float(found[position]) for name, found in scores.items()}
    plain = {name: float(numbers[name][position]) for name in told}
    categories, references = numbers["categories"][position], numbers["references"][position]
    if not np.isfinite([*values.values(), *plain.values(), *categories, *references]).all():
        return {"lacks": NOT_FINITE}
    worst = np.argsort(references, kind="stable")[:MOST_CONFLICTS]
    return {
        **{name: short(value) for name, value in plain.items()},
        "score": short(values[settings.score]),
        "scores": {name: short(value) for name, value in values.items()},
        "categories": [short(value) for value in categories],
        "references": [[int(place), short(references[place])] for place in worst if references[place] < 0],
    }
