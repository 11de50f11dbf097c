"""Folders that hold an adapter where a model is wanted: a run, its adapter, one of its checkpoints."""

import json
import shlex
import sys
from pathlib import Path

from dualselect.errors import ModelError


ADAPTER_CONFIG = "adapter_config.json"
RUN_CONFIG = "config.yaml"
MERGE = (
    "from dualselect.evaluation.local_model import find_model, load_local_model; "
    "model, tokenizer = load_local_model(find_model({adapter!r})); "
    "model.merge_and_unload().save_pretrained({merged!r}); tokenizer.save_pretrained({merged!r})"
)


def refuse_adapter(folder: Path) -> None:
    """Refuse a folder of a run, or of an adapter, and say how a model is made of it.

    Args:
        folder: A folder without a config.json.

    Raises:
        ModelError: It holds an adapter, or is a run.
    """
    adapter = _adapter_in(folder)
    run = next((one for one in (folder, folder.absolute().parent) if (one / RUN_CONFIG).is_file()), None)
    if adapter is None:
        if run == folder and any((folder / name).exists() for name in ("selection.jsonl", "metrics.jsonl")):
            raise ModelError(
                f"{folder} is a run that has no adapter yet, not a model. Finish it first: "
                f"dualselect train --config {_typed(folder / RUN_CONFIG)} --resume"
            )
        return
    what = "a run" if run == folder else "an adapter of a run" if run else "an adapter"
    base = _base_of(adapter)
    merged = folder.absolute().with_name(f"{folder.absolute().name}-merged")
    lines = [f"{folder} is {what}{f', made for {base},' if base else ','} and not a model."]
    if run is not None:
        config = _typed(run / RUN_CONFIG)
        lines.append(f"To finish it, if it was interrupted: dualselect train --config {config} --resume")
    lines += [
        "To start from what it has learned, merge it into a model first:",
        f"  {_typed(Path(sys.executable))} -c {shlex.quote(MERGE.format(adapter=str(adapter), merged=str(merged)))}",
        f"then write --model_name_or_path {_typed(merged)}",
        f"Or give the model that it was made for, with --start_adapter {_typed(adapter)} to continue it, or with "
        f"--merged_adapters {_typed(adapter)} to train a new adapter on top of it.",
    ]
    raise ModelError("\n".join(lines))


def _adapter_in(folder: Path) -> Path | None:
    """The adapter of a folder: its own, that of a finished run, or the newest checkpoint's."""
    steps = {path: path.name.rpartition("-")[2] for path in folder.glob("checkpoint-*")}
    checkpoints = sorted((path for path, step in steps.items() if step.isdigit()), key=lambda path: int(steps[path]))
    places = [folder, folder / "adapter", *reversed(checkpoints)]
    return next((place for place in places if (place / ADAPTER_CONFIG).is_file()), None)


def _base_of(adapter: Path) -> str:
    try:
        content = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        return str(content.get("base_model_name_or_path") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _typed(path: Path) -> str:
    return shlex.quote(str(path))
