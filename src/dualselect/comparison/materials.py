"""Hashes of what a comparison's file only names: rows, the model, prompts and judges, which may change behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from dualselect.comparison.config import ComparisonConfig
from dualselect.data.source_rows import mapped_sources, read_sources
from dualselect.evaluation.store import key_of
from dualselect.evaluation.suite import Suite
from dualselect.judges import Judge
from dualselect.runs.record import file_sha256, rows_sha256


ROLES = ("task_data", "reference_data")
Rows = Mapping[tuple[str, ...], Dataset]
"""Rows of a comparison, by role and sources."""
MODEL_FILES = ("*.safetensors", "*.bin", "*.gguf", "config.json", "tokenizer*", "vocab*", "merges*", "chat_template*")


@dataclass(frozen=True)
class Materials:
    """What the names stand for now.

    Attributes:
        model: Of the start model's files.
        rows: Of the rows, by role and sources.
        asked: Of prompts and judges, by name of the evaluation.
    """

    model: str
    rows: Mapping[tuple[str, ...], str]
    asked: Mapping[str, str]

    @classmethod
    def of(cls, config: ComparisonConfig, rows: Rows, asked: Mapping[str, str]) -> "Materials":
        """Hash all rows, and read the model's files, about a second for each gigabyte.

        Args:
            config: The comparison.
            rows: Of `read_rows`.
            asked: Of `asked_sha256`, by name of the evaluation.
        """
        return cls(model_sha256(config.model), {key: rows_sha256(found) for key, found in rows.items()}, asked)

    def of_run(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Of the rows and the model of a run, by the setting that names them."""
        return {role: self.rows[key] for role, key in row_keys(settings).items()} | {"model_name_or_path": self.model}


def read_rows(config: ComparisonConfig) -> Rows:
    """Everything that some run of a comparison is trained on.

    Raises:
        DualSelectError: Rows are missing or cannot be read.
    """
    named = {key for entry in config.entries for key in row_keys(config.settings | entry.settings).values()}
    return {(role, *sources): read_sources(sources, role).dataset for role, *sources in sorted(named)}


def row_keys(settings: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The rows of a run by role: the task, and a pool where one is named."""
    named = {role: mapped_sources(settings.get(role, []), settings.get("columns")) for role in ROLES}
    return {role: (role, *sources) for role, sources in named.items() if role == "task_data" or sources}


def model_sha256(name: str) -> str:
    """A hash of a local model's weights, configuration and tokenizer; the same for all that is no path here."""
    path = Path(name).expanduser()
    found = {path} if path.is_file() else {file for pattern in MODEL_FILES for file in path.glob(pattern)}
    return key_of({file.name: file_sha256(file) for file in found if file.is_file()})


def asked_sha256(suites: Sequence[Suite], judges: Sequence[Judge]) -> str:
    """A hash of everything of prompts and judges that an evaluation depends on."""
    return key_of([asdict(replace(suite, told=())) for suite in suites], {it.name: it.prompt_hash for it in judges})
