"""Print evaluations in a terminal."""

from collections.abc import Mapping, Sequence

from dualselect.evaluation.agreement import Agreement
from dualselect.evaluation.differences import Difference
from dualselect.evaluation.intervals import Rate, rate
from dualselect.evaluation.results import Evaluation, JudgeRecord, ResponseRecord, SummaryRow
from dualselect.system.tables import aligned
from dualselect.system.visible import one_line


SHOWN_CHARACTERS = 400


def summary_table(rows: Sequence[SummaryRow]) -> str:
    """Metrics over all categories: value, 95% interval, numbers of scored and unscored prompts.

    Rates of a judge of known accuracy are also given corrected for it.
    """
    cells: list[tuple[str, ...]] = [("suite", "metric", "judge", "value", "corrected for the judge", "n", "unscored")]
    for row in rows:
        if not row.category:
            unscored = f"{row.unscored:,}" if row.unscored else ""
            corrected = "" if row.corrected is None else _with_interval(row, *row.corrected)
            cells.append((row.suite, row.metric, row.judge, _value(row), corrected, f"{row.count:,}", unscored))
    if not any(row.corrected for row in rows):
        cells = [(*line[:4], *line[5:]) for line in cells]
    return aligned(cells)


def judge_lines(judges: Sequence[JudgeRecord]) -> list[str]:
    """What is known of each judge: its note, and how often it agreed with people."""
    lines = []
    for judge in judges:
        if judge.note:
            lines.append(f"judge {judge.name} is {judge.note}")
        if judge.accuracy is not None:
            found, right = (rate(*counts) for counts in (judge.accuracy.sensitivity, judge.accuracy.specificity))
            lines.append(
                f"judge {judge.name} agrees with people on {_share(found)} of refusals and {_share(right)} of other "
                f"responses ({judge.accuracy.data}); `corrected` assumes that it errs as often here"
            )
    return lines


def _share(one: Rate) -> str:
    return f"{100 * one.value:.0f}% [{100 * one.low:.0f}, {100 * one.high:.0f}]"


def agreement_table(agreements: Mapping[tuple[str, str, str], Agreement]) -> str:
    """Agreement of judges, by suite."""
    cells = [("suite", "judge", "judge", "agreement", "Cohen's kappa", "n", "unscored")]
    for (suite, first, second), one in agreements.items():
        share = "" if one.observed is None else f"{100 * one.observed:.0f}%"
        kappa = f"undefined: {one.reason}" if one.kappa is None else f"{one.kappa:.2f}"
        unscored = "{}, {}".format(*one.unscored) if any(one.unscored) else ""
        cells.append((suite, first, second, share, kappa, f"{one.count:,}", unscored))
    return aligned(cells)


def difference_table(differences: Sequence[Difference]) -> str:
    """Paired differences over all categories with 95% intervals; marked if the interval excludes zero."""
    cells = [("suite", "metric", "judge", "difference", "n", "left out", "")]
    for one in differences:
        if one.row.category:
            continue
        excludes_zero = one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
        better = (one.value > 0) == one.row.higher_is_better
        direction = "differs" if one.row.higher_is_better is None else "better" if better else "worse"
        left_out = f"{one.left_out:,}" if one.left_out else ""
        value = _with_interval(one.row, one.value, one.low, one.high, signed=True)
        cells.append(
            (
                one.row.suite,
                one.row.metric,
                one.row.judge,
                value,
                f"{one.count:,}",
                left_out,
                direction if excludes_zero else "",
            )
        )
    return aligned(cells)


def sample_text(evaluation: Evaluation, count: int) -> str:
    """The first responses of each suite with their verdicts and measures."""
    lines: list[str] = []
    for suite in dict.fromkeys(response.suite for response in evaluation.responses):
        lines.append(f"{one_line(suite)}:")
        for response in [one for one in evaluation.responses if one.suite == suite][:count]:
            lines += _sample(response)
    return "\n".join(lines)


def _sample(response: ResponseRecord) -> list[str]:
    values = {judge: verdict.value for judge, verdict in response.verdicts.items()} | dict(response.measures)
    facts = ", ".join(f"{name} {'unscored' if value is None else f'{value:g}'}" for name, value in values.items())
    return [
        f"  {one_line(response.id)} {one_line(response.category)}",
        f"    > {_shown(response.prompt[-1]['content'])}",
        *([f"    (thought) {_shown(response.thought)}"] if response.thought else []),
        f"    < {_shown(response.response)}",
        f"    {facts}",
    ]


def _shown(text: str) -> str:
    """The beginning of a text, on one line."""
    line = one_line(text)
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 4] + " ..."


def _value(row: SummaryRow) -> str:
    if row.value is None:
        return "unscored"
    return _with_interval(row, row.value, row.low, row.high)


def _with_interval(
    row: SummaryRow, value: float, low: float | None, high: float | None, *, signed: bool = False
) -> str:
    is_share = row.interval == "wilson" and not row.metric.startswith("win_rate")
    scale, shown, unit = (100, ".0f", "%") if is_share else (1, ".3g", "")
    if signed:
        shown = f"+{shown}"
    ends = "" if low is None or high is None else f" [{scale * low:{shown}}, {scale * high:{shown}}]"
    return f"{scale * value:{shown}}{unit}{ends}"
