"""Paired differences of two evaluations on the same prompts."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from dualselect.errors import DataError
from dualselect.evaluation.intervals import paired_difference
from dualselect.evaluation.metrics import values_of
from dualselect.evaluation.results import Evaluation, SummaryRow


logger = logging.getLogger(__name__)

Name = tuple[str, str, str, str]
"""(suite, judge, metric, category) of a row."""


@dataclass(frozen=True)
class Difference:
    """Difference of two evaluations on the prompts that both scored.

    Attributes:
        row: The compared row of the first evaluation.
        value: Mean of first minus second.
        low: Lower end of its 95% interval, see `paired_difference`; None without an interval.
        high: Upper end.
        count: Number of prompts that both scored.
        left_out: Number of prompts that are missing in one evaluation or unscored in one.
    """

    row: SummaryRow
    value: float
    low: float | None
    high: float | None
    count: int
    left_out: int


def differences(first: Evaluation, second: Evaluation) -> list[Difference]:
    """Compare two evaluations, row by row of their tables.

    Rows match by suite, judge, judge wording, metric and category; prompts match by id and text. Unmatched rows and
    different generation settings are warned of. Win rates are excluded, because they have their own baseline.

    Raises:
        DataError: No row of the two can be compared.
    """
    _warn_of_settings(first, second)
    rows, others = _rows(first), _rows(second)
    wordings = [{judge.name: judge.prompt_hash for judge in evaluation.judges} for evaluation in (first, second)]
    same = _same_prompts(first, second)
    results: list[Difference] = []
    missing: dict[Name, str] = {}
    for name in dict.fromkeys([*rows, *others]):
        row, other = rows.get(name), others.get(name)
        if row is None or other is None:
            missing[name] = f"not in the {'first' if row is None else 'second'} evaluation"
            continue
        if wordings[0].get(row.judge) != wordings[1].get(row.judge):
            missing[name] = "the judge's wording changed"
            continue
        ours, theirs = values_of(first, row), values_of(second, other)
        pairs = [
            (ours[prompt], theirs[prompt])
            for prompt in ours
            if (row.suite, prompt) in same and ours[prompt] is not None and theirs.get(prompt) is not None
        ]
        if not pairs:
            missing[name] = "no prompt was scored in both"
            continue
        mean = paired_difference([one or 0.0 for one, _ in pairs], [two or 0.0 for _, two in pairs])
        left_out = len(ours.keys() | theirs.keys()) - len(pairs)
        results.append(Difference(row, mean.value, mean.low, mean.high, len(pairs), left_out))
    _warn_of_missing(missing)
    if not results:
        raise DataError(
            "the two evaluations share no prompt that the same judge scored: evaluate both models with the "
            "same --suite and --judge"
        )
    return results


def _rows(evaluation: Evaluation) -> dict[Name, SummaryRow]:
    pairwise = {judge.name for judge in evaluation.judges if judge.measure == "preference"}
    return {
        (row.suite, row.judge, row.metric, row.category): row
        for row in evaluation.summary
        if row.judge not in pairwise
    }


def _warn_of_settings(first: Evaluation, second: Evaluation) -> None:
    ours, theirs = first.generation, second.generation
    different = [
        f"{name} {ours.get(name, 'unset')} and {theirs.get(name, 'unset')}"
        for name in dict.fromkeys([*ours, *theirs])
        if name != "batch_size" and ours.get(name) != theirs.get(name)  # the batch size only affects speed
    ]
    if different:
        logger.warning("generation settings differ, which may explain differences: %s", ", ".join(different))


def _warn_of_missing(missing: Mapping[Name, str]) -> None:
    """One line per reason; a category is listed only if its overall row is not missing."""
    for reason in dict.fromkeys(missing.values()):
        rows = [
            f"{metric} of {', '.join(filter(None, (suite, category, judge and f'judge {judge}')))}"
            for (suite, judge, metric, category), why in missing.items()
            if why == reason and (not category or (suite, judge, metric, "") not in missing)
        ]
        if rows:
            logger.warning("not compared, %s: %s", reason, "; ".join(rows))


def _same_prompts(first: Evaluation, second: Evaluation) -> set[tuple[str, str]]:
    texts = [
        {(response.suite, response.id): json.dumps(response.prompt) for response in evaluation.responses}
        for evaluation in (first, second)
    ]
    return {name for name, text in texts[0].items() if texts[1].get(name) == text}
