"""A cache of tokenized rows: one safetensors file per data set, verified by its hash when it is read."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dualselect.data import TokenizedRows, TokenReport
from dualselect.data.rendering import date_of, uses_date
from dualselect.models.embedded import cache_dir
from dualselect.system.files import write_atomically
from dualselect.system.processes import main_first


logger = logging.getLogger(__name__)

FEWEST_ROWS = 1000
"""Fewer rows are not cached: tokenizing them takes less than a second."""

MOST_BYTES = 4 * 2**30
"""Maximum total size of the files; the files unused for longest are deleted first."""

_LISTS, _TEXTS = ("input_ids", "labels"), ("id", "kind", "category")
_DECIDING = ("dualselect", "transformers", "tokenizers", "jinja2", "datasets")


def cached_rows(
    rows: Dataset, tokenizer: Any, settings: Mapping[str, Any], make: Callable[[], TokenizedRows]
) -> TokenizedRows:
    """The tokens of rows, read from the cache if present, otherwise computed and cached.

    Of several processes, the main process computes them and the others read them.

    Args:
        rows: The rows.
        tokenizer: The tokenizer.
        settings: The settings that affect the tokens, as JSON.
        make: Computes the tokens.
    """
    if len(rows) < FEWEST_ROWS or not tokenizer.is_fast:  # the others are refused
        return make()
    path = cache_folder() / f"{_key(rows, tokenizer, settings)}.safetensors"
    return main_first(lambda: _read_or_make(path, settings["name"], make))


def _read_or_make(path: Path, name: str, make: Callable[[], TokenizedRows]) -> TokenizedRows:
    found = _read(path)
    if found is not None:
        logger.info("%s: cached tokens are used (%s)", name, path)
        return found
    made = make()
    try:
        _write(path, made)
        _remove_oldest(path)
    except OSError as error:
        logger.warning("tokenized rows could not be cached in %s (%s): the next run tokenizes again", path, error)
    return made


def cache_folder() -> Path:
    """The folder of the cached rows."""
    return cache_dir() / "tokens"


def _key(rows: Dataset, tokenizer: Any, settings: Mapping[str, Any]) -> str:
    facts = {
        "versions": {package: version(package) for package in _DECIDING},
        "settings": settings,
        "template": tokenizer.chat_template,
        "date": date_of(tokenizer) if uses_date(tokenizer) else None,
        "special_tokens": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    sink = _Sink(digest)
    for table in rows.with_format("arrow").iter(FEWEST_ROWS):
        with pa.ipc.new_stream(pa.PythonFile(sink, "w"), table.schema.remove_metadata()) as stream:
            stream.write_table(table.replace_schema_metadata(None).combine_chunks())
    return digest.hexdigest()


class _Sink:
    """A file that only hashes what is written to it."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self.write = digest.update

    def flush(self) -> None:
        """Does nothing: there is no buffer."""

    def close(self) -> None:
        """Does nothing: no file is open."""


def _write(path: Path, made: TokenizedRows) -> None:
    table = made.dataset.with_format("arrow")[:]
    arrays: dict[str, np.ndarray] = {"row_index": table["row_index"].to_numpy()}
    for name in _LISTS:
        lists = table[name].combine_chunks()
        arrays[f"{name}_lengths"] = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        arrays[name] = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    texts = {name: table[name].to_pylist() for name in _TEXTS} | {"report": asdict(made.report)}
    arrays["texts"] = np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    digest = hashlib.sha256(content).digest()
    write_atomically(path, lambda file: (file.write(digest), file.write(content)))


def _read(path: Path) -> TokenizedRows | None:
    """The tokens in a file; None if the file is missing or damaged."""
    try:
        written = path.read_bytes()
        path.touch()
        if hashlib.sha256(written[32:]).digest() != written[:32]:
            logger.warning("%s is damaged: the rows are tokenized again", path)
            return None
        arrays = load(written[32:])
        texts = json.loads(arrays["texts"].tobytes())
        report = texts.pop("report")
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    report["dropped"] = {reason: tuple(ids) for reason, ids in report["dropped"].items()}
    columns: dict[str, pa.Array] = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    columns["row_index"] = pa.array(arrays["row_index"])
    for name in _LISTS:
        offsets = np.concatenate([[0], arrays[f"{name}_lengths"].cumsum()])
        kind = pa.int32() if offsets[-1] < 2**31 else pa.int64()
        array_type = pa.ListArray if kind == pa.int32() else pa.LargeListArray
        columns[name] = array_type.from_arrays(pa.array(offsets, kind), pa.array(arrays[name], pa.int32()))
    return TokenizedRows(Dataset(pa.table(columns)), TokenReport(**report))


def _remove_oldest(keep: Path) -> None:
    files = sorted(keep.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime, reverse=True)
    size = 0
    for file in files:
        size += file.stat().st_size
        if size > MOST_BYTES and file != keep:
            file.unlink(missing_ok=True)
