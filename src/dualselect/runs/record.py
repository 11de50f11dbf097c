"""The record of a run: versions, seeds, data hashes, model. It is kept in config.yaml and checked on a repeat."""

import hashlib
import importlib.metadata
import logging
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualselect.data.template_dates import date_of
from dualselect.errors import DataError, ResumeError
from dualselect.models.earlier_adapters import WEIGHTS as ADAPTER_WEIGHTS
from dualselect.models.earlier_adapters import adapter_folder
from dualselect.models.fingerprints import tokenizer_fingerprint
from dualselect.runs.settings import RunSettings
from dualselect.system.files import file_sha256
from dualselect.system.processes import process_count


logger = logging.getLogger(__name__)

PACKAGES = ("dualselect", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
FILES_OF_MODEL = ("config.json", "quantize_config.json")
SLOW_BYTES = 2_000_000_000
"""Hashing more than this takes some seconds, so it is logged."""


def run_record(
    settings: RunSettings,
    data: Mapping[str, Any],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """The record of a run, as plain values.

    Args:
        settings: The resolved settings.
        data: Result of `data_record`.
        model: The model before any adapter.
        tokenizer: Its tokenizer.
    """
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "seeds": {"seed": settings.training.seed, "data_seed": settings.training.data_seed},
        "model": {
            "weights": weights_sha256(settings.model.model_name_or_path, model),
            "tokenizer": tokenizer_fingerprint(tokenizer),
            **adapters_sha256(settings),
        },
        "data": dict(data),
        **({"template_date": date_of(tokenizer)} if date_of(tokenizer) else {}),
        **({"processes": process_count()} if process_count() > 1 else {}),
    }


def adapters_sha256(settings: RunSettings) -> dict[str, Any]:
    """Hashes of the weights of the adapters that a run starts from; empty without any."""
    earlier = [*settings.model.merged_adapters, *filter(None, [settings.model.start_adapter])]
    return (
        {"adapters": {name: file_sha256(adapter_folder(name) / ADAPTER_WEIGHTS) for name in earlier}}
        if earlier
        else {}
    )


def data_record(rows: Dataset, files: Sequence[Path]) -> dict[str, Any]:
    """Number and hash of the rows used, and sha256 of their files.

    Args:
        rows: The rows as loaded.
        files: The local files; empty for hub names and built-in data.
    """
    return {"rows": len(rows), "rows_sha256": rows_sha256(rows), "files": {str(it): file_sha256(it) for it in files}}


def rows_sha256(rows: Dataset) -> str:
    """A hash of rows and their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(sorted(row.items())).encode())
    return digest.hexdigest()


def check_data(recorded: Mapping[str, Any], now: Mapping[str, Any], *, allow_changed: bool) -> None:
    """Compare the data of a run with the data of the run that wrote its config.yaml.

    Only files that both runs name are compared: a run on other data is another run.

    Raises:
        DataError: A file has changed, or the same sources give different rows, and `allow_changed` is false.
    """
    for role, found in now.items():
        before = recorded.get(role, {})
        files = before.get("files", {})
        changed = [path for path, digest in found["files"].items() if path in files and files[path] != digest]
        same_sources = before.get("sources") == found["sources"]
        if same_sources and not changed and before.get("rows_sha256") != found["rows_sha256"]:
            changed = found["sources"]
        if not changed:
            continue
        message = (
            f"{role}: {', '.join(changed)} changed since the run of this config.yaml ({before.get('rows')} rows "
            f"then, {found['rows']} now)"
        )
        if not allow_changed:
            raise DataError(
                f"{message}: this would be another run. Restore the data, or accept them with --allow_changed_data."
            )
        logger.warning("%s; accepted because of allow_changed_data", message)


def check_weights(recorded: Mapping[str, Any], now: Mapping[str, Any], *, allow_changed: bool) -> dict[str, Any]:
    """Compare the weights of the model with the weights at the start of an interrupted run.

    Args:
        recorded: The record of the run.
        now: The record that the run would get now.
        allow_changed: Accept changed weights.

    Returns:
        The record of the resumed run, with both hashes if the weights have changed.

    Raises:
        ResumeError: The weights have changed, and `allow_changed` is false.
    """
    model = recorded.get("model", {})
    before, found = model.get("weights"), now["model"]["weights"]
    if before is None or before == found:
        return dict(recorded)
    text = f"the weights of the model have changed since the run was started (sha256 {before} then, {found} now)"
    if not allow_changed:
        raise ResumeError(
            f"resume: {text}: the result would match neither model. Restore the model, start again with "
            "--overwrite, or accept the change with --allow_changed_model true."
        )
    logger.warning("%s; accepted because of allow_changed_model", text)
    earlier = [*model.get("weights_before", []), before]
    return {**recorded, "model": {**model, "weights": found, "weights_before": earlier}}


def warn_of_differences(recorded: Mapping[str, Any], now: Mapping[str, Any], *, with_model: bool = True) -> None:
    """Warn about every version, the model and the number of processes that differ from the run of config.yaml.

    Args:
        recorded: The record of that run.
        now: The record of this run.
        with_model: Whether this is a new run; a resumed run is compared by other rules.
    """
    before, found = int(recorded.get("processes", 1)), int(now.get("processes", 1))
    if with_model and before != found:
        logger.warning(
            "the run of this config.yaml used %d process(es), this run uses %d, and each takes "
            "per_device_train_batch_size rows: the optimizer steps have different rows",
            before,
            found,
        )
    for section in ("versions", "model") if with_model else ("versions",):
        for name, value in now[section].items():
            before = recorded.get(section, {}).get(name)
            if before is not None and before != value:
                logger.warning(
                    "%s %s was %s when this config.yaml was written and is %s now: the result of the run may differ",
                    section.removesuffix("s"),
                    name,
                    before,
                    value,
                )


def weights_sha256(name: str, model: PreTrainedModel) -> str:
    """A hash of all weights of a model: of its files if they are on this machine, otherwise of all parameters.

    Args:
        name: A folder, a .gguf file, or another name.
        model: The model as loaded.
    """
    path = Path(name).expanduser()
    files = (
        [path]
        if path.is_file()
        else sorted(it for it in path.glob("*") if it.name in FILES_OF_MODEL or it.suffix in WEIGHTS)
    )
    size = sum(file.stat().st_size for file in files)
    digest = hashlib.sha256()
    if not any(file.suffix in WEIGHTS for file in files):
        for part, parameter in sorted(model.state_dict().items()):
            digest.update(f"{part} {tuple(parameter.shape)} {parameter.dtype}".encode())
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()
    if size > SLOW_BYTES:
        logger.info("hashing %d files of %s (%.1f GB)", len(files), name, size / 1e9)
    for file in files:
        digest.update(f"{file.name if path.is_dir() else ''} {file.stat().st_size} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
