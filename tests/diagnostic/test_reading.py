"""The reading says what was found, and what was not."""

import pytest

from dualselect.diagnostic.reading import reading


def probe(strategy, correction, median, low, high, ahead=(0.0, -0.1, 0.1)):
    return {
        "strategy": strategy, "correction": correction, "kl": 0.02, "task_loss_increase": 0.01,
        "median": median, "median_low": low, "median_high": high, "p90": 0.5,
        "dualselect_ahead": ahead[0], "dualselect_ahead_low": ahead[1], "dualselect_ahead_high": ahead[2],
    }  # fmt: skip


def content(**changes):
    null = {"null_mean": 0.11, "null_low": 0.1, "null_high": 0.12}
    overlaps = changes.get("overlap", {"all": 0.31, "within": 0.5, "across": 0.25})
    chance = changes.get("null_chance", 0.001)
    shares = changes.get(
        "shares",
        {("sums", "theft"): 0.5, ("sums", "hate"): 0.5, ("songs", "theft"): 0.1, ("songs", "hate"): 0.9},
    )
    return {
        "overlap": [
            {"strategy": "dualselect", "pairs": pairs, "overlap": value, "null_chance": chance, **null}
            for pairs, value in overlaps.items()
        ],
        "chance_floor": changes.get("chance_floor", 0.001),
        "group_chance": changes.get("group_chance", 0.002),
        "category_chance": changes.get("category_chance", 0.003),
        "categories": [
            {"strategy": "dualselect", "group": group, "category": category, "share": share, "share_of_pool": 0.4}
            for (group, category), share in shares.items()
        ],
        "pool": {"categories_from_words": changes.get("from_words", 0), "sketch": None},
        "kl_before_updates": 0.01,
        "probes_count": 14,
        "probes_said_in_pool": changes.get("probes_said_in_pool", 0),
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


def told(**changes):
    return "\n".join(reading(content(**changes)))


def test_what_was_found():
    text = told()
    assert "structured but not static: overlap 0.31 against 0.11 [0.10, 0.12] at random" in text
    assert "It follows the task" in text
    assert "selected depend on the task group" in text
    assert "sums: theft 50% (pool 40%)" in text or "sums: hate 50% (pool 40%)" in text
    assert "songs: hate 90% (pool 40%)" in text
    assert "reduces the held-out probes' KL" in text
    assert "a fixed choice 10.0% [0.0%, 20.0%], less (dualselect +20.0% [+10.0%, +30.0%])" in text
    assert "uniform choices over categories 25.0% [10.0%, 40.0%], no difference found" in text
    assert "project 5.0% [-10.0%, 10.0%], task loss +0.010" in text


def test_small_divergences_differ_in_their_digits():
    found = content() | {"kl_before_updates": 0.00042}
    found["probes"][0]["kl"] = 0.000802
    text = "\n".join(reading(found))
    assert "0.00042 before the updates, 0.000802 after uncorrected ones" in text
    assert "word for word" not in text


def test_a_category_is_named_only_above_its_share_of_the_pool_and_other_only_if_it_was_given():
    shares = {("sums", "theft"): 0.4, ("sums", "other"): 0.6, ("songs", "theft"): 0.5, ("songs", "other"): 0.5}
    assert "sums: other 60% (pool 40%); songs: " in told(shares=shares)
    assert "sums: none; songs: theft 50% (pool 40%). The categories of 7" in told(shares=shares, from_words=7)
    assert "sums: none; songs: theft 50%" in told(shares=shares | {("sums", "other"): 0.4})


def test_what_a_fixed_choice_is_worth_is_not_told_from_the_overlap():
    assert "fixed choice" not in told(
        overlap={"all": 0.95, "within": 0.97, "across": 0.94}, probes=content()["probes"][:2]
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"null_chance": 0.4}, "No structure was found"),
        ({"overlap": {"all": 0.95, "within": 0.97, "across": 0.94}}, "structured but static"),
        ({"group_chance": 0.3}, "That it follows the task group was not found"),
        ({"probes_said_in_pool": 4}, "4 of 14 probe responses stand word for word in the pool"),
        (
            {"chance_floor": 0.1, "group_chance": 0.1},
            "follows the task group: too few batches to tell, p cannot be under",
        ),
        ({"chance_floor": 0.1, "category_chance": 0.1}, "depend on the task group or not: too few batches to tell"),
        ({"category_chance": 0.3}, "were not found to depend on the task group"),
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
            "uniform choices over categories 30.0% [20.0%, 40.0%], more (dualselect -20.0%",
        ),
    ],
)
def test_what_was_not_found_is_said(changes, said):
    assert said in told(**changes)
