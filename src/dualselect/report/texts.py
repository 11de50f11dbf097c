"""The texts of a run's rows, read again from the data that its config.yaml names, if they are still the same."""

from pathlib import Path
from typing import Any, NamedTuple

from dualselect.errors import DualSelectError
from dualselect.runs.directory import CONFIG_FILE


class RowTexts(NamedTuple):
    """Prompt and response by row id, by role (`task_data`, `reference_data`); and why some are missing."""

    texts: dict[str, dict[str, tuple[str, str]]]
    missing: list[str]


def row_texts(run: Path) -> RowTexts:
    """Read the rows of a run again; a hub is never asked.

    Args:
        run: The run directory. Without a config.yaml, or when the data have changed, there are ids only.
    """
    found = RowTexts({}, [])
    if not (run / CONFIG_FILE).is_file():
        found.missing.append(f"the run has no {CONFIG_FILE} that names its data")
        return found
    # they bring torch along, which a page without texts does not need
    from dualselect.runs.config_file import read_config

    try:
        record = (read_config(run / CONFIG_FILE).record or {}).get("data", {})
    except DualSelectError as error:
        found.missing.append(str(error))
        return found
    for role, data in record.items():
        try:
            found.texts[role] = _read(role, data)
        except (DualSelectError, OSError) as error:
            found.missing.append(f"{role}: {error}")
    return found


def _read(role: str, data: dict[str, Any]) -> dict[str, tuple[str, str]]:
    from dualselect.data.source_rows import read_sources
    from dualselect.data.sources import Source
    from dualselect.runs.record import data_record

    if hubs := [source for source in data["sources"] if Source.of(source).is_hub_name]:
        raise DualSelectError(f"{', '.join(hubs)} is on a hub, which a report does not ask")
    rows = read_sources(data["sources"], role).dataset
    if data_record(rows, [])["rows_sha256"] != data["rows_sha256"]:
        raise DualSelectError(f"{', '.join(data['sources'])} changed since the run")
    return {row["id"]: (as_text(row["prompt"]), as_text(row["completion"])) for row in rows}


def as_text(turns: str | list[dict[str, Any]]) -> str:
    """A conversation as text: the content of a single turn, otherwise each turn under its role."""
    if isinstance(turns, str):
        return turns
    if len(turns) == 1:
        return str(turns[0]["content"])
    return "\n\n".join(f"{turn['role']}:\n{turn['content']}" for turn in turns)
