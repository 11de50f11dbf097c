"""The findings of a diagnostic as sentences, including negative results."""

from collections.abc import Mapping, Sequence
from typing import Any

from dualselect.diagnostic.topics import OTHER


SIGNIFICANCE = 0.05
"""Significance level of p-values."""
STATIC_OVERLAP = 0.9
"""Overlap from which a selection is called static."""
NAMES = {
    "dualselect": "dualselect",
    "static": "fixed selection",
    "periodic_random": "periodic random selection",
    "uniform": "uniform selection over categories",
}

Row = Mapping[str, Any]


def findings(content: Mapping[str, Any]) -> list[str]:
    """The finding on each question of the diagnostic.

    - A selection is structured if less than 5% of random draws overlap as much, and static from an overlap of 0.9.
    - It follows the task if the permutation test of the groups has p < 0.05, which needs enough batches.
    - A reduction, or a difference of two, is found if its 95% interval excludes zero.

    Args:
        content: Content of diagnostic.json.
    """
    return [
        _overlap(content),
        _groups(content),
        _map(content),
        *_probes(content),
        *_sketch(content),
    ]


def _overlap(content: Mapping[str, Any]) -> str:
    row = _row(content["overlap"], strategy="dualselect", pairs="all")
    numbers = (
        f"overlap {row['overlap']:.2f} against {row['null_mean']:.2f} [{row['null_low']:.2f}, {row['null_high']:.2f}] "
        "at random"
    )
    if row["null_p_value"] >= SIGNIFICANCE:
        return (
            f"(a) No structure was found: the references that dualselect selects for different batches do not overlap "
            f"more than random ones ({numbers})."
        )
    if row["overlap"] >= STATIC_OVERLAP:
        return f"(a) Selection is structured but static: almost the same references for every batch ({numbers})."
    return f"(a) Selection is structured but not static: {numbers}; a fixed selection would have overlap 1."


def _groups(content: Mapping[str, Any]) -> str:
    within, across = (_row(content["overlap"], strategy="dualselect", pairs=pairs) for pairs in ("within", "across"))
    numbers = (
        f"overlap {within['overlap']:.2f} within groups, {across['overlap']:.2f} across; permutation test, "
        f"p = {content['group_p_value']:.3f}"
    )
    if content["min_p_value"] >= SIGNIFICANCE:
        return f"    Whether selection follows the task group is unknown: {_too_few(content)} ({numbers})."
    if content["group_p_value"] < SIGNIFICANCE:
        return f"    Selection follows the task: batches of the same group share more references ({numbers})."
    return f"    No dependence on the task group was found ({numbers})."


def _too_few(content: Mapping[str, Any]) -> str:
    return f"too few batches, p cannot be below {content['min_p_value']:.3f}; raise batches"


def _map(content: Mapping[str, Any]) -> str:
    from_words = content["pool"]["categories_from_words"]
    rows_of: dict[str, list[Row]] = {row["group"]: [] for row in content["categories"]}
    for row in content["categories"]:
        # among inferred categories, `other` means that no word matched
        if row["strategy"] == "dualselect" and not (from_words and row["category"] == OTHER):
            rows_of[row["group"]].append(row)
    excesses = [f"{group}: {_most_overrepresented(rows)}" for group, rows in rows_of.items()]
    p_value = content["category_p_value"]
    finding = "depend on the task group" if p_value < SIGNIFICANCE else "were not found to depend on the task group"
    if content["min_p_value"] >= SIGNIFICANCE:
        finding = f"may depend on the task group, but this is unknown: {_too_few(content)}"
    words = f" The categories of {from_words:,} references were inferred from words of their prompts." * bool(
        from_words
    )
    return (
        f"(b) The selected safety categories {finding} (permutation test, p = {p_value:.3f}). Most overrepresented "
        f"against the pool: {'; '.join(excesses)}.{words}"
    )


def _most_overrepresented(rows: Sequence[Row]) -> str:
    best = max(rows, key=lambda row: row["share"] - row["share_of_pool"], default=None)
    if best is None or best["share"] <= best["share_of_pool"]:
        return "none"
    return f"{best['category']} {best['share']:.0%} (pool {best['share_of_pool']:.0%})"


def _probes(content: Mapping[str, Any]) -> list[str]:
    corrected = [row for row in content["probes"] if row["strategy"]]
    ours = next(row for row in corrected if row["strategy"] == "dualselect")
    if ours["median"] is None:
        return [
            "(c) The uncorrected updates did not move any probe, so there is no divergence to reduce. Raise "
            "learning_rate or updates."
        ]
    uncorrected = next(row for row in content["probes"] if not row["strategy"])
    lines = [
        f"(c) The correction with references of dualselect {_verb(ours)} KL(start || current) on held-out probes: "
        f"reduction {_interval(ours)} (median batch; 90th percentile {ours['p90']:.1%}). Mean KL: "
        f"{content['kl_before_updates']:.3g} before the updates, {uncorrected['kl']:.3g} after uncorrected updates, "
        f"{ours['kl']:.3g} after corrected updates."
    ]
    if in_pool := content["probes_in_pool"]:
        lines.append(
            f"    {in_pool} of {content['probes_count']} probe responses are in the pool verbatim; only their prompts "
            "are held out."
        )
    others = [row for row in corrected if row["strategy"] != "dualselect"]
    if others:
        results = "; ".join(f"{NAMES[row['strategy']]} {_interval(row)}, {_compared(row)}" for row in others)
        lines.append(f"    With other references: {results}.")
    corrections = [row for row in corrected if row["strategy"] == "dualselect" and row is not ours]
    if corrections:
        results = "; ".join(f"{row['correction']} {_interval(row)}, {_cost(row)}" for row in corrections)
        lines.append(f"    Corrections: {ours['correction']} {_interval(ours)}, {_cost(ours)}; {results}.")
    return lines


def _verb(row: Row) -> str:
    if row["median_low"] > 0:
        return "reduces"
    return "increases" if row["median_high"] < 0 else "was not found to reduce"


def _compared(other: Row) -> str:
    low, high = other["dualselect_ahead_low"], other["dualselect_ahead_high"]
    ahead = f"dualselect {other['dualselect_ahead']:+.1%} [{low:+.1%}, {high:+.1%}]"
    if low > 0:
        return f"less ({ahead})"
    return f"more ({ahead})" if high < 0 else f"no difference found ({ahead})"


def _cost(row: Row) -> str:
    return f"task loss {row['task_loss_increase']:+.3f}"


def _interval(row: Row) -> str:
    return f"{row['median']:.1%} [{row['median_low']:.1%}, {row['median_high']:.1%}]"


def _sketch(content: Mapping[str, Any]) -> list[str]:
    sketch = content["pool"]["sketch"]
    if sketch is None:
        return []
    return [
        f"Cosines use count-sketches of {sketch['buckets']:,} dimensions. Their error is {sketch['mean_error']:.4f} "
        f"on average and {sketch['largest_error']:.4f} at most ({sketch['compared']:,} compared); the cosines to one "
        f"direction have a standard deviation of {sketch['spread_of_cosines']:.4f}."
    ]


def _row(rows: Sequence[Row], **wanted: str) -> Row:
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))
