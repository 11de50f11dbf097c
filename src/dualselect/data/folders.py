"""Folders of rows: files next to each other, splits in their usual naming, and what `save_to_disk` leaves."""

import json
import re
from collections import Counter
from pathlib import Path

from dualselect.data.files import ending_of
from dualselect.errors import DataError


SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval", "evaluation"), "validation"),
}
"""Words in the names of files and folders, and the split that each means."""

_BESIDE_DATA = re.compile(
    r"\..*|.*\.md|(README|LICENSE|NOTICE|CITATION|CHANGELOG|CHECKSUMS|\w+SUMS)\b.*|dataset_infos?\.json|"
    r"dataset_dict\.json|state\.json",
    re.IGNORECASE,
)


def files_of(folder: Path, split: str = "") -> tuple[list[Path], list[str]]:
    """The files of one split of a folder, and the names of all others: a README, other splits.

    A folder has splits where names of its files or folders say so: `train.jsonl`, `data/test-00000-of-00001.parquet`,
    `validation/`. Without `split`, train is taken, or what has no split in its name where nothing is named train.

    Args:
        folder: The folder.
        split: The split, one of `SPLITS` or a whole name such as `train_sft`; empty for train.

    Raises:
        DataError: Something there is neither; there is no file of rows; the split is not there.
    """
    files, beside = _walk(folder)
    if not files:
        raise DataError(f"{folder}: the folder holds no data files: put .jsonl, .json, .csv or .parquet files there")
    splits = {file: _split_of(file.relative_to(folder)) for file in files}
    found = Counter(splits.values())
    if split:
        wanted = SPLITS.get(split.lower(), split)
        taken = [file for file in files if splits[file] == wanted or split in _words(file.relative_to(folder), "")]
        if not taken:
            raise DataError(
                f"{folder}: has no split {split} (found: {', '.join(sorted(filter(None, found))) or 'no splits'}): "
                "name another one, or leave it out"
            )
    else:
        wanted = _default(folder, found)
        taken = [file for file in files if splits[file] == wanted]
    others = [f"{file.relative_to(folder)}{_split_told(splits[file])}" for file in files if file not in taken]
    return taken, [*beside, *others]


def _default(folder: Path, found: Counter[str]) -> str:
    wanted = next((name for name in ("train", "") if name in found), next(iter(found)) if len(found) == 1 else None)
    if wanted is None:
        raise DataError(
            f"{folder}: holds the splits {', '.join(sorted(found))} and none named train: write "
            f"{folder}:{min(found)} for one of them"
        )
    return wanted


def _split_told(split: str) -> str:
    return f" (split {split})" if split else " (no split in its name)"


def _split_of(path: Path) -> str:
    """The split that the path of a file names, empty if its names say nothing."""
    return next((SPLITS[word] for word in _words(path, r"[-_. ]+") if word in SPLITS), "")


def _words(path: Path, separator: str) -> list[str]:
    """The words of the names of a path, the file's first; whole names without a separator."""
    names = [path.name.removesuffix(ending_of(path)) if separator else re.split(r"-\d|\.", path.name)[0]]
    names += list(reversed(path.parts[:-1]))
    return [word for name in names for word in (re.split(separator, name.lower()) if separator else [name])]


def _walk(folder: Path) -> tuple[list[Path], list[str]]:
    """The files of rows in a folder and in its folders of data, and the names of what lies next to them."""
    if (folder / "state.json").is_file():
        return _saved_files(folder), []
    files, beside, unknown = list[Path](), list[str](), list[str]()
    for entry in sorted(folder.iterdir()):
        if _BESIDE_DATA.fullmatch(entry.name):
            beside += [] if _is_of_save_to_disk(entry) else [entry.name]
        elif entry.is_dir() and _holds_data(entry):
            inner, aside = _walk(entry)
            files += inner
            beside += [f"{entry.name}/{name}" for name in aside]
        elif entry.is_file() and ending_of(entry):
            files.append(entry)
        else:
            unknown.append(entry.name)
    if unknown:
        raise DataError(
            f"{folder}: cannot use {', '.join(unknown[:5])}{' and more' * (len(unknown) > 5)} in this folder (known "
            "are .jsonl, .json, .csv, each also with .gz, .parquet, and folders named data or by a split): move it "
            "elsewhere, or name the files instead"
        )
    return files, beside


def _holds_data(folder: Path) -> bool:
    words = re.split(r"[-_. ]+", folder.name.lower())
    return folder.name.lower() in ("data", "default") or any(word in SPLITS for word in words) or _is_saved(folder)


def _is_saved(folder: Path) -> bool:
    return (folder / "state.json").is_file()


def _is_of_save_to_disk(entry: Path) -> bool:
    return entry.name in ("dataset_info.json", "dataset_dict.json", "state.json")


def _saved_files(folder: Path) -> list[Path]:
    """The files of a data set saved with `save_to_disk`, in its order.

    Raises:
        DataError: Its `state.json` is damaged, or names files that are not there.
    """
    try:
        names = [part["filename"] for part in json.loads((folder / "state.json").read_text())["_data_files"]]
        files = [folder / Path(name).name for name in names]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{folder / 'state.json'}: not the file that save_to_disk writes ({type(error).__name__}): save the data "
            "set again, or move the file elsewhere"
        ) from error
    if missing := [file.name for file in files if not file.is_file()]:
        raise DataError(f"{folder}: {', '.join(missing)} is missing, which state.json names: save the data set again")
    return files
