"""The texts of a run's rows, read again from the data in its config.yaml if these are unchanged."""

from pathlib import Path
from typing import Any, NamedTuple

from dualselect.errors import DualSelectError
from dualselect.runs.directory import CONFIG_FILE


class RowTexts(NamedTuple):
    """Prompt and response by role (`task_data`, `reference_data`) and row id, and why texts are missing."""

    texts: dict[str, dict[str, tuple[str, str]]]
    missing: list[str]


def row_texts(run: Path) -> RowTexts:
    """Read the rows of a run again, without network access.

    Args:
        run: The run directory. Texts are missing if it has no config.yaml or if the data have changed.
    """
    result = RowTexts({}, [])
    if not (run / CONFIG_FILE).is_file():
        result.missing.append(f"the run has no {CONFIG_FILE} that names its data")
        return result
    # these import torch, which a page without texts does not need
    from dualselect.runs.config_file import read_config

    try:
        record = (read_config(run / CONFIG_FILE).record or {}).get("data", {})
    except DualSelectError as error:
        result.missing.append(str(error))
        return result
    for role, data in record.items():
        try:
            result.texts[role] = _read(role, data)
        except (DualSelectError, OSError) as error:
            result.missing.append(f"{role}: {error}")
    return result


def _read(role: str, data: dict[str, Any]) -> dict[str, tuple[str, str]]:
    from dualselect.data.source_rows import read_sources
    from dualselect.data.sources import Source
    from dualselect.runs.record import data_record

    if hubs := [source for source in data["sources"] if Source.of(source).is_hub_name]:
        raise DualSelectError(f"{', '.join(hubs)} is on a hub, and reports do not access the network")
    rows = read_sources(data["sources"], role).dataset
    if data_record(rows, [])["rows_sha256"] != data["rows_sha256"]:
        raise DualSelectError(f"{', '.join(data['sources'])} changed since the run")
    return {row["id"]: (as_text(row["prompt"]), as_text(row["completion"])) for row in rows}


def as_text(turns: str | list[dict[str, Any]]) -> str:
    """A conversation as text: the content of a single turn, or all turns with their roles."""
    if isinstance(turns, str):
        return turns
    if len(turns) == 1:
        return str(turns[0]["content"])
    return "\n\n".join(f"{turn['role']}:\n{turn['content']}" for turn in turns)
