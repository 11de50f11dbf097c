"""The model card next to an adapter: base model, method, data and settings. It contains no local paths."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dualselect.models.embedded import EMBEDDED_HUB_NAME, EMBEDDED_MODEL
from dualselect.system.files import write_text
from dualselect.system.visible import one_line


CARD_FILE = "README.md"
MARK = "<!-- Written by dualselect. A card without this line is never replaced. -->"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SLICE = re.compile(r"(\[\d*:\d*\]|#\w+)*$")


@dataclass(frozen=True)
class Card:
    """Contents of a model card.

    Attributes:
        base: Name or folder of the base model.
        method: Name of the method.
        paper: Reference to the method's paper.
        data: Number of rows by role, such as `task data`.
        sources: Sources by role. For a path, the card shows only the file name.
        settings: Settings of the method and the training.
        command: The command that repeats the training.
        whole: Whether this is a model and not an adapter.
    """

    base: str
    method: str
    paper: str
    data: Mapping[str, int]
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    whole: bool = False

    def text(self) -> str:
        """The card as Markdown with YAML front matter."""
        base = public_name(self.base)
        facts = {
            **({"base_model": base} if _HUB_NAME.fullmatch(base) else {}),
            "library_name": "transformers" if self.whole else "peft",
            "pipeline_tag": "text-generation",
            "tags": ["dualselect", *([] if self.whole else ["lora"]), "trl"],
        }
        rows = {"Base model": _code(base), "Method": f"{_plain(self.method)} ({_paper(self.paper)})"}
        for role, count in self.data.items():
            names = [_code(public_name(name)) for name in self.sources.get(role, [])]
            rows[role.capitalize()] = ", ".join([*names, f"{count:,} rows"])
        if self.command:
            rows["Command"] = _code(self.command)
        settings = yaml.safe_dump(dict(self.settings), sort_keys=True, allow_unicode=False)
        return "\n".join(
            [
                f"---\n{yaml.safe_dump(facts, sort_keys=False)}---",
                MARK,
                "",
                f"# {'A fine-tuned' if self.whole else 'An adapter of'} {_plain(base)}",
                "",
                f"Trained with dualselect with {_plain(self.method)}. This card describes the training. It does not "
                "show that the model is safe: measure safety with `dualselect evaluate`.",
                "",
                "| | |\n|---|---|",
                *(f"| {name} | {value} |" for name, value in rows.items()),
                "",
                f"```yaml\n{settings}```\n",
            ]
        )


def write_card(folder: str | Path, card: Card) -> None:
    """Write the card next to the model files of a folder. A README.md that dualselect did not write is kept."""
    path = Path(folder) / CARD_FILE
    if not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace"):
        write_text(path, card.text())


def public_name(source: str) -> str:
    """The name to show: a hub name unchanged, the last part of a path, or the embedded model's hub name."""
    stem = _SLICE.sub("", source)
    last = Path(stem).name
    if last == EMBEDDED_MODEL:
        return EMBEDDED_HUB_NAME
    is_path = (
        stem.startswith((".", "/", "~")) or "\\" in stem or stem.count("/") > 1 or Path(stem).expanduser().exists()
    )
    return last.rpartition("\\")[2] + source[len(stem) :] if is_path else source


def _paper(paper: str) -> str:
    return re.sub(r"arXiv:? ?(\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", _plain(paper))


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", one_line(text))


def _code(text: str) -> str:
    return "`" + one_line(text).replace("`", "'").replace("|", "\\|") + "`"
