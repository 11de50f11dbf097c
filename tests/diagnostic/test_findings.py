"""Findings include what was not found."""

import pytest

from dualselect.diagnostic.findings import findings


def probe(strategy, correction, median, low, high, ahead=(0.0, -0.1, 0.1)):
    return {
        "strategy": strategy, "correction": correction, "kl": 0.02, "task_loss_increase": 0.01,
        "median": median, "median_low": low, "median_high": high, "p90": 0.5,
        "dualselect_ahead": ahead[0], "dualselect_ahead_low": ahead[1], "dualselect_ahead_high": ahead[2],
    }  # fmt: skip


def content(**changes):
    null = {"null_mean": 0.11, "null_low": 0.1, "null_high": 0.12}
    overlaps = changes.get("overlap", {"all": 0.31, "within": 0.5, "across": 0.25})
    chance = changes.get("null_p_value", 0.001)
    shares = changes.get(
        "shares",
        {("sums", "theft"): 0.5, ("sums", "hate"): 0.5, ("songs", "theft"): 0.1, ("songs", "hate"): 0.9},
    )
    return {
        "overlap": [
            {"strategy": "dualselect", "pairs": pairs, "overlap": value, "null_p_value": chance, **null}
            for pairs, value in overlaps.items()
        ],
        "min_p_value": changes.get("min_p_value", 0.001),
        "group_p_value": changes.get("group_p_value", 0.002),
        "category_p_value": changes.get("category_p_value", 0.003),
        "categories": [
            {"strategy": "dualselect", "group": group, "category": category, "share": share, "share_of_pool": 0.4}
            for (group, category), share in shares.items()
        ],
        "pool": {"categories_from_words": changes.get("from_words", 0), "sketch": None},
        "kl_before_updates": 0.01,
        "probes_count": 14,
        "probes_in_pool": changes.get("probes_in_pool", 0),
        "probes": changes.get(
            "probes",
            [
                {"strategy": "", "correction": "none", "kl": 0.03, "median": None},
                probe("dualselect", "add", 0.3, 0.2, 0.4),
                probe("static", "add", 0.1, 0.0, 0.2, (0.2, 0.1, 0.3)),
                probe("uniform", "add", 0.25, 0.1, 0.4),
                probe("dualselect", "project", 0.05, -0.1, 0.1, (0.25, 0.1, 0.3)),
            ],
        ),
    }


def text_of(**changes):
    return "\n".join(findings(content(**changes)))


def test_findings():
    text = text_of()
    assert "structured but not static: overlap 0.31 against 0.11 [0.10, 0.12] at random" in text
    assert "Selection follows the task" in text
    assert "categories depend on the task group" in text
    assert "sums: theft 50% (pool 40%)" in text or "sums: hate 50% (pool 40%)" in text
    assert "songs: hate 90% (pool 40%)" in text
    assert "reduces KL(start || current) on held-out probes" in text
    assert "fixed selection 10.0% [0.0%, 20.0%], less (dualselect +20.0% [+10.0%, +30.0%])" in text
    assert "uniform selection over categories 25.0% [10.0%, 40.0%], no difference found" in text
    assert "project 5.0% [-10.0%, 10.0%], task loss +0.010" in text


def test_small_divergences_differ_in_their_digits():
    found = content() | {"kl_before_updates": 0.00042}
    found["probes"][0]["kl"] = 0.000802
    text = "\n".join(findings(found))
    assert "0.00042 before the updates, 0.000802 after uncorrected updates" in text
    assert "verbatim" not in text


def test_a_category_is_named_only_above_its_share_of_the_pool_and_other_only_if_it_was_given():
    shares = {("sums", "theft"): 0.4, ("sums", "other"): 0.6, ("songs", "theft"): 0.5, ("songs", "other"): 0.5}
    assert "sums: other 60% (pool 40%); songs: " in text_of(shares=shares)
    assert "sums: none; songs: theft 50% (pool 40%). The categories of 7" in text_of(shares=shares, from_words=7)
    assert "sums: none; songs: theft 50%" in text_of(shares=shares | {("sums", "other"): 0.4})


def test_a_static_selection_says_nothing_about_fixed_selection():
    assert "fixed selection" not in text_of(
        overlap={"all": 0.95, "within": 0.97, "across": 0.94}, probes=content()["probes"][:2]
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"null_p_value": 0.4}, "No structure was found"),
        ({"overlap": {"all": 0.95, "within": 0.97, "across": 0.94}}, "structured but static"),
        ({"group_p_value": 0.3}, "No dependence on the task group was found"),
        ({"probes_in_pool": 4}, "4 of 14 probe responses are in the pool verbatim"),
        (
            {"min_p_value": 0.1, "group_p_value": 0.1},
            "task group is unknown: too few batches, p cannot be below",
        ),
        (
            {"min_p_value": 0.1, "category_p_value": 0.1},
            "may depend on the task group, but this is unknown: too few batches",
        ),
        ({"category_p_value": 0.3}, "were not found to depend on the task group"),
        (
            {"probes": [content()["probes"][0], probe("dualselect", "add", 0.1, -0.1, 0.3)]},
            "was not found to reduce",
        ),
        ({"probes": [content()["probes"][0], probe("dualselect", "add", -0.2, -0.3, -0.1)]}, "increases"),
        (
            {
                "probes": [
                    content()["probes"][0],
                    probe("dualselect", "add", 0.1, 0.05, 0.2),
                    probe("uniform", "add", 0.3, 0.2, 0.4, (-0.2, -0.3, -0.1)),
                ]
            },
            "uniform selection over categories 30.0% [20.0%, 40.0%], more (dualselect -20.0%",
        ),
    ],
)
def test_what_was_not_found_is_reported(changes, expected):
    assert expected in text_of(**changes)
