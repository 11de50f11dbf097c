"""Two evaluations on the same prompts, paired prompt by prompt."""

import json
from dataclasses import dataclass

from dualselect.errors import DataError
from dualselect.evaluation.intervals import paired_difference
from dualselect.evaluation.metrics import values_of
from dualselect.evaluation.results import Evaluation, SummaryRow


@dataclass(frozen=True)
class Difference:
    """How much one evaluation is above another, on the prompts that both have scored.

    Attributes:
        row: The row of the first evaluation that is compared.
        value: Mean of first minus second.
        low: Lower end of the paired bootstrap's 95% interval.
        high: Upper end.
        count: Prompts that both have scored.
        left_out: Prompts of either that the other has not, or that one of the two could not score.
    """

    row: SummaryRow
    value: float
    low: float
    high: float
    count: int
    left_out: int


def differences(first: Evaluation, second: Evaluation) -> list[Difference]:
    """Compare two evaluations, row by row of their tables.

    Rows are compared when both have the same suite, judge with the same wording, metric and category, and prompts
    when they have the same id and the same text.

    Raises:
        DataError: No row of the two can be compared.
    """
    others = {_name(row): row for row in second.summary}
    hashes = [{judge.name: judge.prompt_hash for judge in evaluation.judges} for evaluation in (first, second)]
    same = _same_prompts(first, second)
    found = []
    for row in first.summary:
        other = others.get(_name(row))
        if other is None or hashes[0].get(row.judge) != hashes[1].get(row.judge):
            continue
        ours, theirs = values_of(first, row), values_of(second, other)
        pairs = [
            (ours[name], theirs[name])
            for name in ours
            if (row.suite, name) in same and ours[name] is not None and theirs.get(name) is not None
        ]
        if not pairs:
            continue
        mean = paired_difference([one or 0.0 for one, _ in pairs], [two or 0.0 for _, two in pairs])
        left_out = len(ours.keys() | theirs.keys()) - len(pairs)
        found.append(Difference(row, mean.value, mean.low, mean.high, len(pairs), left_out))
    if not found:
        raise DataError(
            "the two evaluations have no prompt in common that the same judge scored: evaluate both models with the "
            "same --suite and --judge"
        )
    return found


def _name(row: SummaryRow) -> tuple[str, str, str, str]:
    return row.suite, row.judge, row.metric, row.category


def _same_prompts(first: Evaluation, second: Evaluation) -> set[tuple[str, str]]:
    texts = [
        {(response.suite, response.id): json.dumps(response.prompt) for response in evaluation.responses}
        for evaluation in (first, second)
    ]
    return {name for name, text in texts[0].items() if texts[1].get(name) == text}
