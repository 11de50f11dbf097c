"""Print an audit in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from dualselect.auditing.measuring import CONTROL
from dualselect.auditing.pool import NO_CATEGORY
from dualselect.auditing.scoring import NOT_FINITE
from dualselect.auditing.settings import TRAINED_SCORE
from dualselect.auditing.summary import AuditSummary
from dualselect.system.tables import aligned
from dualselect.system.visible import visible


CONTROL_NAME = "control: loss after fine-tuning on the pool"


def summary_text(summary: AuditSummary) -> str:
    """The summary as text: verdict, recommended settings, tables."""
    data, conflict, budget = summary.data, summary.conflict, summary.recommended_budget
    drawn = f", {data['drawn']:,} sampled" if data["sample"] else ""
    lines = [f"{data['rows']:,} rows{drawn}, {data['scored']:,} scored"]
    lines += [f"  {count:,} not scored: {reason}" for reason, count in data["unscored"].items()]
    if not data["scored"]:
        return "\n".join(lines)
    cost = f"{1 - budget['kept_share']:.1%}"
    cost += f" [{1 - budget['high']:.1%}, {1 - budget['low']:.1%}]" if budget["low"] is not None else ""
    drawn = " of the sampled" if data["sample"] else ""
    lines += unreliable_lines(summary)
    lines += [
        f"in conflict with the safe references: {_share(conflict)} ({_rule(conflict)})",
        f"recommended settings for training: {recommended_text(budget)}",
        f"these drop {budget['dropped_rows']:,}{drawn} rows, {cost} of the task tokens{_harmless_text(conflict)}",
        f"columns kept_*: {budgets_text(summary.settings['audit']['score'])}",
        "",
        *_kinds(summary),
        *_safety_categories(summary),
        *_categories(summary),
    ]
    if summary.detection:
        lines += ["", *_detection(summary.detection)]
    return "\n".join(lines)


def _rule(conflict: Mapping[str, Any]) -> str:
    rows = f"{_kinds_text(conflict['harmless_rows'])} harmless rows"
    if conflict["threshold"] is None:
        return f"{rows} are too few to drop any row at this harmless_drop_rate"
    return f"conflict score above {conflict['threshold']:.2f}, which {rows} set"


def unreliable_lines(summary: AuditSummary) -> list[str]:
    """That the filter cannot separate, and why; empty if it can."""
    if summary.recommended_budget["reliable"]:
        return []
    return [
        f"no reliable recommendation: of the pool's own unsafe contrasts, held out, only "
        f"{summary.conflict['contrasts_found']:.0%} conflict more than harmless rows do, so this model does not tell "
        "them apart. Rank the rows by another score (--score), or read the rows with the highest scores"
    ]


def _harmless_text(conflict: Mapping[str, Any]) -> str:
    share = conflict["harmless_among_dropped"]
    return "" if share is None else f"; at most {share:.0%} of these rows are expected to be harmless"


def _kinds_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def recommended_text(budget: Mapping[str, Any]) -> str:
    """The options of a training run that drops the rows in conflict."""
    if budget["settings"] is None:
        return (
            "none, because training detects conflict by a contrast and this audit used none: audit with "
            "--reference_contrast compliance"
        )
    return " ".join(f"--{name} {value}" for name, value in budget["settings"].items())


def budgets_text(score: str) -> str:
    """What a token budget keeps in an audit, and how a training run with that budget differs."""
    other = "" if score == TRAINED_SCORE else f" by {TRAINED_SCORE}, not by {score}, and"
    return (
        f"what a token budget keeps if applied to all rows at once by {score}; training applies it{other} in each step"
    )


def without_detection(detection: Mapping[str, Any]) -> str:
    """Why detection could not be evaluated; empty if it was."""
    if detection["scores"]:
        return ""
    return "only risky rows were scored" if detection["risky"] else "no risky row was scored"


def failure_text(data: Mapping[str, Any], conflict: Mapping[str, Any], most: float) -> str:
    """Why the data fails `--fail_above`.

    Args:
        data: `AuditSummary.data`.
        conflict: `AuditSummary.conflict`; its values are None if no row was scored.
        most: The value of `--fail_above`.

    Returns:
        A sentence; empty if the data passes.
    """
    if broken := data["unscored"].get(NOT_FINITE, 0):
        return (
            f"{broken:,} rows have values that are not finite, so the share in conflict is unknown "
            f"(--fail_above {most:g}): lower learning_rate, or use float32"
        )
    share, high = conflict["value"], conflict["high"]
    if share is None:
        return (
            f"no row was scored, so the share in conflict is unknown (--fail_above {most:g}): fix the rows (the "
            "reasons are listed above), or raise --sample"
        )
    if share > most:
        return f"{share:.1%} of the rows are in conflict, more than --fail_above {most:g}"
    if data["drawn"] < data["rows"] and high > most:
        return (
            f"of the {data['drawn']:,} sampled rows {share:.1%} are in conflict, and the 95% interval for all rows "
            f"reaches {high:.1%}, more than --fail_above {most:g}: narrow it with a larger --sample, or omit --sample"
        )
    return ""


def _kinds(summary: AuditSummary) -> list[str]:
    rows = [("kind", "rows", "in conflict", "mean conflict score", "most affected categories")]
    for kind, found in summary.kinds.items():
        shares = {name: it["value"] or 0.0 for name, it in found["categories"].items()}
        worst = sorted(shares.items(), key=lambda it: -it[1])[:3]
        affected = ", ".join(f"{name} {share:.0%}" for name, share in worst if share)
        mean = "" if found["mean_conflict"] is None else f"{found['mean_conflict']:+.2f}"
        rows.append((kind, f"{found['rows']:,}", _share(found["conflict"]), mean, affected))
    return visible_lines(rows)


def _safety_categories(summary: AuditSummary) -> list[str]:
    shares = summary.all["categories"]
    if set(shares) <= {NO_CATEGORY}:
        return []
    rows = [("safety category", "rows in conflict with it")]
    rows += [(name, _share(it)) for name, it in sorted(shares.items(), key=lambda it: -it[1]["value"])]
    return ["", *visible_lines(rows)]


def _categories(summary: AuditSummary) -> list[str]:
    if not summary.categories:
        return []
    rows = [("row category", "scored", "in conflict")]
    rows += [(name, f"{it['scored']:,}", _share(it["conflict"])) for name, it in worst_first(summary.categories)]
    return ["", *visible_lines(rows)]


def worst_first(categories: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Row categories in descending order of the share in conflict."""
    return sorted(categories.items(), key=lambda it: (-(it[1]["conflict"]["value"] or 0.0), it[0]))


def _detection(detection: Mapping[str, Any]) -> list[str]:
    scores = detection["scores"]
    counts = f"{detection['risky']:,} rows labeled risky among {detection['others']:,} others"
    if not scores:
        return [f"detection of {counts}: not evaluated, {without_detection(detection)}"]
    kinds = list(next(iter(scores.values()))["against"])
    head = ("score", "AUROC", "recall at 5, 10, 20%", *(f"against {kind}" for kind in kinds))
    rows = [head]
    for name, found in sorted(scores.items(), key=lambda it: (it[0] == CONTROL, -_least(it[1]))):
        recall = ", ".join(f"{it['value']:.0%}" for it in found["recall"].values())
        against = [_interval(found["against"][kind]) for kind in kinds]
        rows.append((CONTROL_NAME if name == CONTROL else name, _interval(found["auroc"]), recall, *against))
    return [f"detection of {counts}:", *visible_lines(rows)]


def _least(found: Mapping[str, Any]) -> float:
    """AUROC over all rows; without one, the lowest AUROC against a built-in kind."""
    return float((found["auroc"] or min(found["against"].values(), key=lambda it: float(it["value"])))["value"])


def _share(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return ""
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def _interval(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def visible_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align cells in columns; control characters are made visible."""
    return aligned([[" ".join(visible(cell).split()) for cell in row] for row in rows]).split("\n")
