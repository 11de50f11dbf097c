"""The summary of an audit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dualselect.errors import DataError
from dualselect.runs.audited import SUMMARY as SUMMARY


FORMAT = 4
"""Incremented when scores or file contents change, so that finished audits of older formats are not reused."""
RULE = (
    "drop every row whose gradient conflicts more with the references than all but a share (harmless_drop_rate) of "
    "held-out harmless rows of every kind, as task_token_budget: auto does"
)
LEAST_FOUND = 0.5
"""A filter that finds fewer of the held-out contrasts than this is not recommended."""


@dataclass(frozen=True)
class AuditSummary:
    """The summary of an audit. Shares have a 95% Wilson interval.

    Attributes:
        data: `sources`, `rows`, `sha256`; `drawn`, the number of rows read for scoring, and whether they are a
            `sample`; `scored`; `unscored`, the number of unscored rows by reason.
        model: `name`, `fingerprint`, `scaling` of its adapters, `tokenizer`.
        settings: Settings of the audit and of the planned training run.
        conflict: `threshold` of the conflict score, None if no row can be dropped; the `share` of rows in conflict;
            `harmless_rows` that calibrate it, by kind; `dropped_if_left_out`, the share of each kind that would be
            dropped if only the other kinds were known;
            `contrasts_found`, the share of held-out unsafe contrasts in conflict (None if there are none);
            `harmless_among_dropped`, the largest share of the rows in conflict that is expected to be harmless.
        recommended_budget: `rule`; `reliable`, whether enough contrasts were found (`LEAST_FOUND`); `settings` of a
            training run that follows it (None without a contrast, because this run needs one); `kept_share` of the
            supervised tokens, with `low` and `high` for a sample; `dropped_rows`; `dropped_tokens` of `tokens`.
        all: Aggregates of all rows: `rows`, `scored`, `conflict`, `mean_conflict`, `histogram` (counts of conflict
            scores by bin of `BIN_WIDTH` from `LOWEST`), `categories` (share of rows in conflict with each safety
            category) and `kept` (share of rows that each budget keeps).
        kinds: The same for each kind of row.
        categories: `scored` and `conflict` of each category of rows.
        budgets: For each budget, applied to all rows at once in order of the ranking score, the number of rows that it
            drops and how many of these are in conflict.
        references: `pool`, `selected`, `compared` (references with a stored gradient); `without_direction`, the
            categories without their own direction; `without_held_out`, the categories without their own held-out
            references, whose threshold comes from other categories; for each category `references`, `selected` and
            `held_out`.
        detection: Detection of the rows labeled risky by each score and by `control_loss`, over all rows and against
            each kind, including built-in hard negatives. `auroc` is None without other rows in the data. There are no
            scores if no risky rows or no other rows were scored. None if no row is labeled risky.
        fingerprint: Hash of data, settings and model.
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
            DataError: The file is missing, broken or has another format.
        """
        try:
            content = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise DataError(f"{path.parent} contains no finished audit: run dualselect audit first") from None
        except ValueError as error:
            raise DataError(
                f"{path} is broken ({error}): repeat the audit with dualselect audit --overwrite"
            ) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(
                f"{path} is not an audit summary of format {FORMAT}: repeat the audit with dualselect audit "
                "--overwrite"
            )
        return cls(**{one.name: content[one.name] for one in fields(cls)})
