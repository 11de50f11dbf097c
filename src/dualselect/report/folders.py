"""Detect and read the paths given to `dualselect report`."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dualselect.errors import DataError
from dualselect.runs.directory import ADAPTER, CONFIG_FILE, EVALUATION, METRICS_LOG
from dualselect.training.selection_log import SELECTION_LOG, SelectionLog


COMPARISON = "comparison.json"
FORMAT = 1
Kind = Literal["run", "comparison", "evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation file; see `dualselect.evaluation`.

    Attributes:
        name: Its name on the page.
        content: Content of the file.
    """

    name: str
    content: dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """Files of a run directory, or a single evaluation file.

    Attributes:
        name: Its unique name on the page.
        path: The run directory or evaluation file.
        selection: Lines of the selection log; empty without one.
        metrics: Lines of the metrics log.
        evaluations: Its evaluations.
        left_out: Files that are not shown, and why.
    """

    name: str
    path: Path
    selection: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    evaluations: list[Evaluation]
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ComparisonFiles:
    """Files of a comparison.

    Attributes:
        name: Its name on the page.
        path: The folder.
        content: Content of comparison.json.
    """

    name: str
    path: Path
    content: dict[str, Any]


def kind_of(path: Path) -> Kind:
    """Kind of a path: a file is an evaluation; a folder is recognized by its files.

    Raises:
        DataError: It does not exist, or holds nothing to show.
    """
    if path.is_file():
        return "evaluation"
    if not path.is_dir():
        raise DataError(f"{path} does not exist: pass the folder of a run or a comparison")
    if (path / COMPARISON).is_file():
        return "comparison"
    parts = (CONFIG_FILE, SELECTION_LOG, METRICS_LOG)
    if any((path / part).is_file() for part in parts) or any((path / EVALUATION).glob("*.json")):
        return "run"
    inside = sorted(part.parent for part in path.glob(f"*/{ADAPTER}"))
    advice = f"; it contains runs: {', '.join(map(str, inside[:4]))}" if inside else ""
    raise DataError(
        f"{path} is not a run, comparison or audit: it holds none of {', '.join(parts)}, "
        f"{EVALUATION}/*.json, {COMPARISON}{advice}. Pass the output_dir of dualselect train, evaluate, compare or "
        "audit."
    )


def read_folders(paths: Sequence[Path]) -> tuple[list[RunFiles], list[ComparisonFiles]]:
    """Read all runs and comparisons of a page.

    Raises:
        DataError: A path is given twice or is not recognized, or a file cannot be read.
    """
    resolved = [path.resolve() for path in paths]
    if repeated := [str(path) for path, count in Counter(resolved).items() if count > 1]:
        raise DataError(f"{', '.join(repeated)} is given more than once: pass it once")
    kinds = [kind_of(path) for path in resolved]
    names = _short_names(resolved)
    runs = [
        _run(path, names[path]) if kind == "run" else _measured(path, names[path])
        for path, kind in zip(resolved, kinds, strict=True)
        if kind != "comparison"
    ]
    comparisons = [
        ComparisonFiles(names[path], path, _checked_content(path / COMPARISON))
        for path, kind in zip(resolved, kinds, strict=True)
        if kind == "comparison"
    ]
    return runs, comparisons


def _run(path: Path, name: str) -> RunFiles:
    evaluations, left_out = [], []
    files = sorted((path / EVALUATION).glob("*.json"))
    for file in files:
        try:
            label = name if len(files) == 1 else f"{name}: {file.stem}"
            evaluations.append(Evaluation(label, _checked_content(file)))
        except DataError as error:
            left_out.append(str(error))
    selection = SelectionLog(path).read() if (path / SELECTION_LOG).is_file() else []
    return RunFiles(name, path, selection, _json_lines(path / METRICS_LOG), evaluations, left_out)


def _measured(file: Path, name: str) -> RunFiles:
    name = name.removesuffix(file.suffix)
    return RunFiles(name, file, [], [], [Evaluation(name, _checked_content(file))])


def _checked_content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON ({error}): create it again") from error
    file_format = content.get("format") if isinstance(content, dict) else None
    if not isinstance(content, dict) or file_format != FORMAT:
        raise DataError(
            f"{file} has format {file_format!r}, but this version reads {FORMAT}: create it again with this version"
        )
    return content


def _json_lines(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.endswith("\n")]


def _short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The shortest trailing parts of the paths that are unique."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return dict(zip(paths, names, strict=True))
