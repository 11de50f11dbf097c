"""What a path given to `dualselect report` is, and what stands in it: the one place that knows."""

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
        name: What the page calls it.
        content: The file's.
    """

    name: str
    content: dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """What a run directory holds; of a model that was only measured, its evaluation.

    Attributes:
        name: What the page calls the run, unlike any other on the page.
        path: The folder, or the file of the evaluation.
        selection: Lines of the selection log; none for a run without one.
        metrics: What the trainer logged.
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
    """What a comparison holds.

    Attributes:
        name: What the page calls it.
        path: The folder.
        content: Of comparison.json.
    """

    name: str
    path: Path
    content: dict[str, Any]


def kind_of(path: Path) -> Kind:
    """Tell what a path is: a file is an evaluation, a folder is known by the files in it.

    Raises:
        DataError: It does not exist, or holds nothing that a page could show.
    """
    if path.is_file():
        return "evaluation"
    if not path.is_dir():
        raise DataError(f"{path} does not exist: give the folder of a run or of a comparison")
    if (path / COMPARISON).is_file():
        return "comparison"
    parts = (CONFIG_FILE, SELECTION_LOG, METRICS_LOG)
    if any((path / part).is_file() for part in parts) or any((path / EVALUATION).glob("*.json")):
        return "run"
    inside = sorted(part.parent for part in path.glob(f"*/{ADAPTER}"))
    advice = f"; there are runs in it: {', '.join(map(str, inside[:4]))}" if inside else ""
    raise DataError(
        f"{path} is neither a run nor a comparison nor an audit: it holds none of {', '.join(parts)}, "
        f"{EVALUATION}/*.json, {COMPARISON}{advice}. Give the output_dir of dualselect train, evaluate, compare or "
        "audit."
    )


def read_folders(paths: Sequence[Path]) -> tuple[list[RunFiles], list[ComparisonFiles]]:
    """Read all runs and comparisons of a page.

    Raises:
        DataError: A path is given twice, is not known, or a file in it cannot be read.
    """
    whole = [path.resolve() for path in paths]
    if twice := [str(path) for path, count in Counter(whole).items() if count > 1]:
        raise DataError(f"{', '.join(twice)} is given more than once: name it once")
    kinds = [kind_of(path) for path in whole]
    names = _short_names(whole)
    runs = [
        _run(path, names[path]) if kind == "run" else _measured(path, names[path])
        for path, kind in zip(whole, kinds, strict=True)
        if kind != "comparison"
    ]
    comparisons = [
        ComparisonFiles(names[path], path, _known(path / COMPARISON))
        for path, kind in zip(whole, kinds, strict=True)
        if kind == "comparison"
    ]
    return runs, comparisons


def _run(path: Path, name: str) -> RunFiles:
    evaluations, left_out = [], []
    files = sorted((path / EVALUATION).glob("*.json"))
    for file in files:
        try:
            label = name if len(files) == 1 else f"{name}: {file.stem}"
            evaluations.append(Evaluation(label, _known(file)))
        except DataError as error:
            left_out.append(str(error))
    selection = SelectionLog(path).read() if (path / SELECTION_LOG).is_file() else []
    return RunFiles(name, path, selection, _json_lines(path / METRICS_LOG), evaluations, left_out)


def _measured(file: Path, name: str) -> RunFiles:
    name = name.removesuffix(file.suffix)
    return RunFiles(name, file, [], [], [Evaluation(name, _known(file))])


def _known(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON ({error}): make it again") from error
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(content, dict) or found != FORMAT:
        raise DataError(f"{file} has format {found!r}, this version reads {FORMAT}: make it again with this version")
    return content


def _json_lines(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.endswith("\n")]


def _short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The last parts of each path, as many as tell them all apart."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return dict(zip(paths, names, strict=True))
