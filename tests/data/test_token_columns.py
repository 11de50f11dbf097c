"""Counts and hashes over columns of tokens, against plain loops."""

from datasets import Dataset, concatenate_datasets

from dualselect.data.token_columns import largest_token_id, lengths_of, supervised_counts, tokens_sha256


ROWS = [
    {"input_ids": [5, 6, 7], "labels": [5, -100, 7]},
    {"input_ids": [], "labels": []},
    {"input_ids": [9], "labels": [9]},
    {"input_ids": [1, 2], "labels": [-100, -100]},
    {"input_ids": [3, 4], "labels": [-100, 4]},
]


def test_counts_leave_out_the_first_token():
    rows = Dataset.from_list(ROWS)
    assert supervised_counts(rows, -100).tolist() == [1, 0, 0, 0, 1]
    assert lengths_of(rows).tolist() == [3, 0, 1, 2, 2]
    assert largest_token_id(rows) == 9


def test_the_hash_is_of_the_contents_in_order_and_of_nothing_else():
    rows = Dataset.from_list(ROWS)
    parts = concatenate_datasets([Dataset.from_list(ROWS[:2]), Dataset.from_list(ROWS[2:])])
    assert tokens_sha256(rows) == tokens_sha256(parts) == tokens_sha256(rows.add_column("id", list("abcde")))
    reordered = rows.select([4, 3, 2, 1, 0])
    assert tokens_sha256(reordered) == tokens_sha256(Dataset.from_list(ROWS[::-1])) != tokens_sha256(rows)
    changed = [*ROWS[:4], {"input_ids": [3, 4], "labels": [-100, -100]}]
    assert tokens_sha256(Dataset.from_list(changed)) != tokens_sha256(rows)
    joined = [{"input_ids": [5, 6, 7, 9], "labels": [5, -100, 7, 9]}, ROWS[1], ROWS[1], *ROWS[3:]]
    assert tokens_sha256(Dataset.from_list(joined)) != tokens_sha256(rows)
