"""Hashes of the inputs that a comparison's config only names: rows, model, prompts and judges."""

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
from dualselect.runs.record import rows_sha256
from dualselect.system.files import file_sha256


ROLES = ("task_data", "reference_data")
Rows = Mapping[tuple[str, ...], Dataset]
"""Rows by (role, *sources)."""
MODEL_FILES = ("*.safetensors", "*.bin", "*.gguf", "config.json", "tokenizer*", "vocab*", "merges*", "chat_template*")


@dataclass(frozen=True)
class InputHashes:
    """Hashes of the current inputs.

    Attributes:
        model: Hash of the start model's files.
        rows: Hashes of the rows, by (role, *sources).
        prompts: Hashes of prompts and judges, by evaluation name.
    """

    model: str
    rows: Mapping[tuple[str, ...], str]
    prompts: Mapping[str, str]

    @classmethod
    def of(cls, config: ComparisonConfig, rows: Rows, prompts: Mapping[str, str]) -> "InputHashes":
        """Hash all rows and the model files; takes about a second per gigabyte.

        Args:
            config: The comparison.
            rows: Result of `read_rows`.
            prompts: Results of `prompts_sha256`, by evaluation name.
        """
        return cls(model_sha256(config.model), {key: rows_sha256(dataset) for key, dataset in rows.items()}, prompts)

    def of_run(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Hashes of the rows and the model of a run, by the setting that names them."""
        return {role: self.rows[key] for role, key in row_keys(settings).items()} | {"model_name_or_path": self.model}


def read_rows(config: ComparisonConfig) -> Rows:
    """Read the training rows of all runs.

    Raises:
        DualSelectError: Rows are missing or cannot be read.
    """
    keys = {key for entry in config.entries for key in row_keys(config.settings | entry.settings).values()}
    return {(role, *sources): read_sources(sources, role).dataset for role, *sources in sorted(keys)}


def row_keys(settings: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Keys of the rows of a run, by role: task data, and reference data if given."""
    named = {role: mapped_sources(settings.get(role, []), settings.get("columns")) for role in ROLES}
    return {role: (role, *sources) for role, sources in named.items() if role == "task_data" or sources}


def model_sha256(name: str) -> str:
    """Hash of a local model's weights, config and tokenizer; a constant for names that are not local paths."""
    path = Path(name).expanduser()
    files = {path} if path.is_file() else {file for pattern in MODEL_FILES for file in path.glob(pattern)}
    return key_of({file.name: file_sha256(file) for file in files if file.is_file()})


def prompts_sha256(suites: Sequence[Suite], judges: Sequence[Judge]) -> str:
    """Hash of the prompts and judges of an evaluation."""
    return key_of([asdict(replace(suite, notes=())) for suite in suites], {it.name: it.prompt_hash for it in judges})
