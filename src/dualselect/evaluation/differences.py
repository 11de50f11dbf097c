"""Two evaluations on the same prompts, paired prompt by prompt."""

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
"""Suite, judge, metric and category of a row."""


@dataclass(frozen=True)
class Difference:
    """How much one evaluation is above another, on the prompts that both have scored.

    Attributes:
        row: The row of the first evaluation that is compared.
        value: Mean of first minus second.
        low: Lower end of its 95% interval, see `paired_difference`; None where there is none.
        high: Upper end.
        count: Prompts that both have scored.
        left_out: Prompts of either that the other has not, or that one of the two could not score.
    """

    row: SummaryRow
    value: float
    low: float | None
    high: float | None
    count: int
    left_out: int


def differences(first: Evaluation, second: Evaluation) -> list[Difference]:
    """Compare two evaluations, row by row of their tables.

    Rows are compared when both have the same suite, judge with the same wording, metric and category, and prompts
    when they have the same id and the same text. Rows that are not compared, and settings of generation that differ,
    are warned of. Win rates are left aside: they are against a model of their own.

    Raises:
        DataError: No row of the two can be compared.
    """
    _warn_of_settings(first, second)
    rows, others = _rows(first), _rows(second)
    wordings = [{judge.name: judge.prompt_hash for judge in evaluation.judges} for evaluation in (first, second)]
    same = _same_prompts(first, second)
    found: list[Difference] = []
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
        found.append(Difference(row, mean.value, mean.low, mean.high, len(pairs), left_out))
    _warn_of_missing(missing)
    if not found:
        raise DataError(
            "the two evaluations have no prompt in common that the same judge scored: evaluate both models with the "
            "same --suite and --judge"
        )
    return found


def _rows(evaluation: Evaluation) -> dict[Name, SummaryRow]:
    pairwise = {judge.name for judge in evaluation.judges if judge.measure == "preference"}
    return {
        (row.suite, row.judge, row.metric, row.category): row
        for row in evaluation.summary
        if row.judge not in pairwise
    }


def _warn_of_settings(first: Evaluation, second: Evaluation) -> None:
    ours, theirs = first.generation, second.generation
    apart = [
        f"{name} {ours.get(name, 'unset')} and {theirs.get(name, 'unset')}"
        for name in dict.fromkeys([*ours, *theirs])
        if name != "batch_size" and ours.get(name) != theirs.get(name)  # batches only decide how fast
    ]
    if apart:
        logger.warning("generated with other settings, which may be what differs: %s", ", ".join(apart))


def _warn_of_missing(missing: Mapping[Name, str]) -> None:
    """One line for each reason; of categories only where their whole is not among the missing."""
    for reason in dict.fromkeys(missing.values()):
        told = [
            f"{metric} of {', '.join(filter(None, (suite, category, judge and f'judge {judge}')))}"
            for (suite, judge, metric, category), why in missing.items()
            if why == reason and (not category or (suite, judge, metric, "") not in missing)
        ]
        if told:
            logger.warning("not compared, %s: %s", reason, "; ".join(told))


def _same_prompts(first: Evaluation, second: Evaluation) -> set[tuple[str, str]]:
    texts = [
        {(response.suite, response.id): json.dumps(response.prompt) for response in evaluation.responses}
        for evaluation in (first, second)
    ]
    return {name for name, text in texts[0].items() if texts[1].get(name) == text}
