"""From the data sets given to the trainer to tokenized rows whose ids can always be told.

A row's index is its position in the data set as given; it goes through tokenizing, dropping, shuffling and batching,
and names the row in every log.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from dualselect.config import DualSelectConfig
from dualselect.data import as_conversations, check_overlap, compliance, tokenize
from dualselect.errors import DataError


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedRows:
    """Tokenized rows and what they came from.

    Attributes:
        tokens: `input_ids`, `labels` and `row_index`, one row per row kept.
        conversations: `id`, `prompt`, `completion`, `kind`, `category`, `rejected`, one row per row given; None for
            rows that came without a conversation (tokenized or plain text).
        ids: Id of each row given.
    """

    tokens: Dataset
    conversations: Dataset | None
    ids: list[str]

    def ids_of(self, indices: Sequence[int]) -> list[str]:
        """The ids of rows, by row index."""
        return [self.ids[index] for index in indices]

    def labels_of(self, indices: Sequence[int]) -> dict[str, list[str]]:
        """`kinds` and `categories` of rows, by row index; empty when no row has any."""
        columns = {"kinds": self._kinds, "categories": self._categories}
        return {name: [values[index] for index in indices] for name, values in columns.items() if any(values)}

    @property
    def fingerprint(self) -> str:
        """A hash of the ids of the rows kept, in order."""
        kept = self.ids_of(self.tokens["row_index"])
        return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]
