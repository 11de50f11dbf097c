"""Tasks as the field keeps them: files with a definition and instances, and the published orders.

    {"Definition": [text], "Instances": [{"input": text, "output": text or [texts]}]}

O-LoRA's benchmark has a folder for each task with train.json, dev.json and test.json. Super-NaturalInstructions, which
SAPT uses, has a file for each task. In O-LoRA's data, dev.json of dbpedia is byte for byte test.json: `dev` is never
read here.
"""

import json
from pathlib import Path
from typing import Any

from dualselect.errors import ConfigError, DataError


ORDERS: dict[str, tuple[str, ...]] = {
    "o_lora_1": ("dbpedia", "amazon", "yahoo", "agnews"),
    "o_lora_2": ("dbpedia", "amazon", "agnews", "yahoo"),
    "o_lora_3": ("yahoo", "amazon", "agnews", "dbpedia"),
    "o_lora_4": ("MNLI", "CB", "WiC", "COPA", "QQP", "BoolQA", "RTE", "IMDB", "yelp", "amazon", "SST-2", "dbpedia",
                 "agnews", "MultiRC", "yahoo"),
    "o_lora_5": ("MultiRC", "BoolQA", "WiC", "MNLI", "CB", "COPA", "QQP", "RTE", "IMDB", "SST-2", "dbpedia", "agnews",
                 "yelp", "amazon", "yahoo"),
    "o_lora_6": ("yelp", "amazon", "MNLI", "CB", "COPA", "QQP", "RTE", "IMDB", "SST-2", "dbpedia", "agnews", "yahoo",
                 "MultiRC", "BoolQA", "WiC"),
    "sapt_1": ("task1572", "task363", "task1290", "task181", "task002", "task1510", "task639", "task1729", "task073",
               "task1590", "task748", "task511", "task591", "task1687", "task875"),
    "sapt_2": ("task748", "task073", "task1590", "task639", "task1572", "task1687", "task591", "task363", "task1510",
               "task1729", "task181", "task511", "task002", "task1290", "task875"),
}  # fmt: skip
"""Orders of O-LoRA (Wang et al., 2023) and SAPT (Zhao et al., ACL 2024)."""
SPLITS = ("train", "test")


def folder_tasks(folder: str, order: str | list[str], where: str) -> list[dict[str, Any]]:
    """The tasks of a folder in a published order, as entries of `tasks`.

    Args:
        folder: The folder; tasks are looked for in it and in the folders below.
        order: A name in `ORDERS`, or a list of task names.
        where: For messages.

    Raises:
        ConfigError: The order is unknown, or a task of it is not in the folder.
    """
    root = Path(folder).expanduser()
    if isinstance(order, str) and order not in ORDERS:
        raise ConfigError(f"{where}: order {order!r} is not known; use {', '.join(ORDERS)}, or a list of task names")
    names = ORDERS[order] if isinstance(order, str) else tuple(map(str, order))
    places = sorted([*root.rglob("train.json"), *root.rglob("task*.json")]) if root.is_dir() else []
    by_name = {(path.parent.name if path.name == "train.json" else path.stem): path for path in places}
    entries = []
    for name in names:
        found = [path for known, path in by_name.items() if known == name or known.startswith(f"{name}_")]
        if not found:
            raise ConfigError(
                f"{where}: {root} has no task {name} (a folder {name}/ with train.json, or {name}_....json); found: "
                f"{', '.join(sorted(by_name)) or 'none'}"
            )
        path = found[0]
        test = path.with_name("test.json")
        entries.append({"name": name, "data": str(path), "evaluation": str(test) if test.exists() else []})
    return entries


def is_instance_file(source: str) -> bool:
    """Whether a source is a JSON file with a definition and instances."""
    path = Path(source).expanduser()
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open(encoding="utf-8") as file:
        return '"Instances"' in file.read(2**20)


def read_instances(source: str) -> list[dict[str, Any]]:
    """The rows of a file with instances: `id`, `prompt`, `completion`. Of several outputs the first one is used.

    Raises:
        DataError: The file is not of this form, or an instance has no text.
    """
    path = Path(source).expanduser()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        definition = content.get("Definition") or [""]
        definition = definition if isinstance(definition, str) else definition[0]
        rows = []
        for number, one in enumerate(content["Instances"]):
            output = one["output"] if isinstance(one["output"], str) else one["output"][0]
            prompt = f"{definition}\n\n{one['input']}".strip()
            rows.append(
                {
                    "id": str(one.get("id") or f"{path.parent.name}-{path.stem}-{number}"),
                    "prompt": [{"role": "user", "content": prompt}],
                    "completion": [{"role": "assistant", "content": str(output)}],
                }
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path}: no definition and instances as in Super-NaturalInstructions ({error!r})") from error
    if not rows:
        raise DataError(f"{path}: holds no instances: give at least one")
    return rows
