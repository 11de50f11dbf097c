"""What an audit says of the data as a whole."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dualselect.errors import DataError


SUMMARY = "summary.json"
FORMAT = 3
"""Raised when a score or what a file holds changes: a finished audit of an older format is not taken for a new one."""
RULE = (
    "drop every row whose cosine to the reference direction is below the conflict threshold, which is halfway between "
    "the mean cosine of safe answers and the mean cosine of unsafe answers to the same prompts, as "
    "task_token_budget: auto does"
)


@dataclass(frozen=True)
class AuditSummary:
    """What an audit says of the data as a whole; shares in conflict come with their 95% Wilson interval.

    Attributes:
        data: `sources`, `rows`, `sha256`; `drawn`, the rows scored, and whether they are a `sample`; `scored`;
            `unscored`, rows without numbers by reason.
        model: `name`, `fingerprint`, `scaling` of its adapters, `tokenizer`.
        settings: Those of the audit and of the training it looks ahead to.
        conflict: `threshold`, and the `share` of rows in conflict.
        recommended_budget: `rule`; `settings` of a training that follows it, None for an audit without a contrast,
            which no training can follow; `kept_share` of the supervised tokens, with `low` and `high` for a sample;
            `dropped_rows`; `dropped_tokens`, its cost, of `tokens`.
        all: Of all rows `rows`, `scored`, `conflict`, `mean_cosine`, `histogram` (counts of cosines by number of the
            bin of `BIN_WIDTH` from -1), `categories` (share of rows in conflict with each safety category) and `kept`
            (share of rows that each budget would keep).
        kinds: The same for each kind of row.
        categories: For each category of rows `scored` and `conflict`.
        budgets: For each budget the rows that it drops, by the score that ranks and of all rows at once, and of these
            the rows in conflict.
        references: `pool`, `selected`, `compared` (those whose gradients rows are compared with one by one); the
            categories `without_direction` of their own and those `without_held_out` references of their own, whose
            threshold is read off other categories'; for each category `references`, `selected` and `held_out`.
        detection: For each score, and for `control_loss`, how well it finds the known risky rows, over all and
            against each kind apart, built-in rows of `HARD_KINDS` among them where the data have none; `auroc` is
            None without other rows of the data; no score where no risky row was scored, or nothing else; None where
            no row is known to be risky.
        fingerprint: Of data, settings and model.
    """

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    conflict: Mapping[str, Any]
    recommended_budget: Mapping[str, Any]
    all: Mapping[str, Any]
    kinds: Mapping[str, Mapping[str, Any]]
    categories: Mapping[str, Mapping[str, Any]]
    budgets: Mapping[str, Mapping[str, Any]]
    references: Mapping[str, Any]
    detection: Mapping[str, Any] | None
    fingerprint: str

    def as_values(self) -> dict[str, Any]:
        """As JSON values."""
        return {"format": FORMAT} | {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def read(cls, path: Path) -> "AuditSummary":
        """Read summary.json.

        Raises:
            DataError: It is missing, broken or of another format.
        """
        try:
            content = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise DataError(f"{path.parent} holds no finished audit: dualselect audit writes one") from None
        except ValueError as error:
            raise DataError(f"{path} is broken ({error}): write it anew with dualselect audit --overwrite") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(
                f"{path} is no summary of an audit in format {FORMAT}: write it anew with dualselect audit --overwrite"
            )
        return cls(**{one.name: content[one.name] for one in fields(cls)})
