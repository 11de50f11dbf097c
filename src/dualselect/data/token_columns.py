"""Rows of tokens, and columns of tokens as numpy arrays: counts and hashes over all rows, without Python lists."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from datasets import Dataset


_ROWS_AT_ONCE = 1000

TokenRow = Mapping[str, Sequence[int]]
"""`input_ids` and `labels` of one row."""


def supervised_counts(tokens: Dataset, ignored_label: int) -> np.ndarray:
    """Number of labels of each row that a token before them predicts, shape (rows,).

    Args:
        tokens: Rows with `labels`.
        ignored_label: Label of a token that is not supervised.
    """
    counts = [np.zeros(0, dtype=np.int64)]
    for lengths, labels in _lists(tokens, "labels"):
        ends = lengths.cumsum()
        supervised = labels != ignored_label
        supervised[(ends - lengths)[lengths > 0]] = False  # nothing predicts the first token
        before = np.concatenate([[0], supervised.cumsum()])
        counts.append(before[ends] - before[ends - lengths])
    return np.concatenate(counts)


def lengths_of(tokens: Dataset) -> np.ndarray:
    """Number of tokens of each row, shape (rows,)."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *(lengths for lengths, _ in _lists(tokens, "input_ids"))])


def largest_token_id(tokens: Dataset) -> int:
    """The largest token id of all rows; -1 where there is no token."""
    return max((int(values.max()) for _, values in _lists(tokens, "input_ids") if len(values)), default=-1)


def tokens_sha256(tokens: Dataset) -> str:
    """A hash of the `input_ids` and `labels` of all rows, in order."""
    digest = hashlib.sha256()
    for column in ("input_ids", "labels"):
        for lengths, values in _lists(tokens, column):
            digest.update(lengths.astype("<i8").tobytes())
            digest.update(values.astype("<i4").tobytes())
    return digest.hexdigest()


def _lists(tokens: Dataset, column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Lengths and joined values of the lists of a column, some rows at a time."""
    for table in tokens.select_columns([column]).with_format("arrow").iter(_ROWS_AT_ONCE):
        lists: pa.ListArray = table[column].combine_chunks()
        lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        yield lengths, lists.flatten().to_numpy(zero_copy_only=False).copy()


def token_rows(rows: Dataset, positions: Sequence[int]) -> list[TokenRow]:
    """Rows of a tokenized data set at the given positions, in this order."""
    # by index and not by `select`: the data sets that `select` makes outlive their batch and add up
    columns, selected = ("input_ids", "labels"), rows[list(positions)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*(selected[name] for name in columns), strict=True)]
