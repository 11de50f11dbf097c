"""What a diagnostic found, in plain words; and, just as plainly, what it did not find."""

from collections.abc import Mapping, Sequence
from typing import Any

from dualselect.diagnostic.topics import OTHER


CERTAIN = 0.05
"""A chance under which a difference is called found."""
ALWAYS_THE_SAME = 0.9
"""Overlap from which on a selection is called static."""
NAMES = {
    "dualselect": "dualselect",
    "static": "a fixed choice",
    "periodic_random": "periodic random choices",
    "uniform": "uniform choices over categories",
}

Row = Mapping[str, Any]


def reading(content: Mapping[str, Any]) -> list[str]:
    """One sentence or two for each question of the diagnostic.

    Rules: selections are structured when less than 5% of random draws overlap as much, and static from 0.9 on; they
    follow the task when a permutation of the groups separates within from across as much in less than 5% of the
    cases, which takes enough batches for that to be possible; a reduction, or a difference of two, is found when its
    95% interval lies on one side.

    Args:
        content: Of diagnostic.json.
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
    if row["null_chance"] >= CERTAIN:
        return (
            f"(a) No structure was found: the references that dualselect picks for different batches overlap no more "
            f"than random ones do ({numbers})."
        )
    if row["overlap"] >= ALWAYS_THE_SAME:
        return f"(a) Selection is structured but static: nearly the same references for every batch ({numbers})."
    return f"(a) Selection is structured but not static: {numbers}; a fixed choice would have 1."


def _groups(content: Mapping[str, Any]) -> str:
    within, across = (_row(content["overlap"], strategy="dualselect", pairs=pairs) for pairs in ("within", "across"))
    numbers = (
        f"overlap {within['overlap']:.2f} within groups, {across['overlap']:.2f} across; permutation test, "
        f"p = {content['group_chance']:.3f}"
    )
    if content["chance_floor"] >= CERTAIN:
        return f"    Whether it follows the task group: {_too_few(content)} ({numbers})."
    if content["group_chance"] < CERTAIN:
        return f"    It follows the task: batches of one group share more references than batches of two ({numbers})."
    return f"    That it follows the task group was not found ({numbers})."


def _too_few(content: Mapping[str, Any]) -> str:
    return f"too few batches to tell, p cannot be under {content['chance_floor']:.3f}; raise batches"


def _map(content: Mapping[str, Any]) -> str:
    from_words = content["pool"]["categories_from_words"]
    of_group: dict[str, list[Row]] = {row["group"]: [] for row in content["categories"]}
    for row in content["categories"]:
        # read off words, `other` is what no word told of; given, it is a category as any
        if row["strategy"] == "dualselect" and not (from_words and row["category"] == OTHER):
            of_group[row["group"]].append(row)
    told = [f"{group}: {_most_above(rows)}" for group, rows in of_group.items()]
    chance = content["category_chance"]
    depends = "depend on the task group" if chance < CERTAIN else "were not found to depend on the task group"
    if content["chance_floor"] >= CERTAIN:
        depends = f"depend on the task group or not: {_too_few(content)}"
    words = f" The categories of {from_words:,} references were read off words of their prompts." * bool(from_words)
    return (
        f"(b) The safety categories selected {depends} (permutation test, p = {chance:.3f}). Most above its share of "
        f"the pool, {'; '.join(told)}.{words}"
    )


def _most_above(rows: Sequence[Row]) -> str:
    best = max(rows, key=lambda row: row["share"] - row["share_of_pool"], default=None)
    if best is None or best["share"] <= best["share_of_pool"]:
        return "none"
    return f"{best['category']} {best['share']:.0%} (pool {best['share_of_pool']:.0%})"


def _probes(content: Mapping[str, Any]) -> list[str]:
    usual = [row for row in content["probes"] if row["strategy"]]
    ours = next(row for row in usual if row["strategy"] == "dualselect")
    if ours["median"] is None:
        return ["(c) The uncorrected updates moved no probe: nothing to reduce. Raise learning_rate or updates."]
    uncorrected = next(row for row in content["probes"] if not row["strategy"])
    lines = [
        f"(c) The correction with references of dualselect {_verb(ours)} the held-out probes' KL(start || now): "
        f"reduction {_interval(ours)} (median batch; 90th percentile {ours['p90']:.1%}). On average it is "
        f"{content['kl_before_updates']:.3g} before the updates, {uncorrected['kl']:.3g} after uncorrected ones and "
        f"{ours['kl']:.3g} after these."
    ]
    if said := content["probes_said_in_pool"]:
        lines.append(
            f"    {said} of {content['probes_count']} probe responses stand word for word in the pool: of these "
            "only the prompts are held out."
        )
    others = [row for row in usual if row["strategy"] != "dualselect"]
    if others:
        told = "; ".join(f"{NAMES[row['strategy']]} {_interval(row)}, {_compared(row)}" for row in others)
        lines.append(f"    With other references: {told}.")
    corrections = [row for row in usual if row["strategy"] == "dualselect" and row is not ours]
    if corrections:
        told = "; ".join(f"{row['correction']} {_interval(row)}, {_cost(row)}" for row in corrections)
        lines.append(f"    Corrections: {ours['correction']} {_interval(ours)}, {_cost(ours)}; {told}.")
    return lines


def _verb(row: Row) -> str:
    if row["median_low"] > 0:
        return "reduces"
    return "increases" if row["median_high"] < 0 else "was not found to reduce"


def _compared(other: Row) -> str:
    low, high = other["dualselect_ahead_low"], other["dualselect_ahead_high"]
    told = f"dualselect {other['dualselect_ahead']:+.1%} [{low:+.1%}, {high:+.1%}]"
    if low > 0:
        return f"less ({told})"
    return f"more ({told})" if high < 0 else f"no difference found ({told})"


def _cost(row: Row) -> str:
    return f"task loss {row['task_loss_increase']:+.3f}"


def _interval(row: Row) -> str:
    return f"{row['median']:.1%} [{row['median_low']:.1%}, {row['median_high']:.1%}]"


def _sketch(content: Mapping[str, Any]) -> list[str]:
    found = content["pool"]["sketch"]
    if found is None:
        return []
    return [
        f"Cosines are of count-sketches of {found['buckets']:,} numbers: off by {found['mean_error']:.4f} on average, "
        f"{found['largest_error']:.4f} at most ({found['compared']:,} compared), where the cosines of one direction "
        f"differ by {found['spread_of_cosines']:.4f} (standard deviation)."
    ]


def _row(rows: Sequence[Row], **wanted: str) -> Row:
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))
