"""Rows, model and output directory of a run, read with every refusal recorded."""

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualselect.data.checks import check_overlap, references_apart
from dualselect.data.source_rows import SourceRows, check_columns, read_sources
from dualselect.data.token_report import TokenReport
from dualselect.preflight.disk import existing
from dualselect.preflight.refusals import Refusals
from dualselect.runs.directory import RunDirectory
from dualselect.runs.model import load_run_model
from dualselect.runs.record import check_data, check_weights, data_record, run_record
from dualselect.runs.resuming import Claim, decide, record_of_same_run
from dualselect.runs.settings import RunSettings, settings_to_write
from dualselect.runs.train import check_overwrite
from dualselect.system.lock import ADVICE, held
from dualselect.training.checkpoints import check_logs
from dualselect.training.preparation import PreparedRows, prepare_rows


FALLBACKS = {"lora_target_modules": "all-linear", "eos_token": None, "chat_template_path": None}
"""Replacement values of settings that the model rejects, so that the checks can go on."""

TASK, POOL, HELD_OUT = "task_data", "reference_data", "eval_data"


@dataclass(frozen=True)
class Prepared:
    """Tokenized rows of one role.

    Attributes:
        rows: The rows.
        report: What was truncated and dropped.
        double_start: Rows that begin with two start tokens.
    """

    rows: PreparedRows
    report: TokenReport
    double_start: int


def check_directory(settings: RunSettings, refusals: Refusals) -> Claim:
    """What a run would do in its output directory; nothing is written there."""
    directory, claimed = RunDirectory(settings.training.output_dir or "."), Claim()
    with refusals.collecting():
        claimed = decide(directory, settings)
        if claimed.overwrite:
            check_overwrite(directory)
        if claimed.checkpoint is not None:
            check_logs(claimed.checkpoint)
    there = existing(directory.path)
    if not there.is_dir():
        reason = f"{there} is not a folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        reason = f"no permission to write into {there}"
    else:
        reason = ""
    if reason:
        refusals.add(
            f"output_dir {directory.path} cannot be written: {reason}. Permit writing there, or choose another folder "
            "with --output_dir."
        )
    if directory.path.is_dir() and held(directory.path):
        refusals.add(f"{directory.path} is in use by another dualselect process: {ADVICE}")
    return claimed


def read_rows(settings: RunSettings, refusals: Refusals) -> tuple[dict[str, SourceRows], dict[str, int]]:
    """Read the rows of each role.

    Returns:
        The rows by role, without the references that a run leaves out, and the number of shared prompts by
        description. A role whose rows cannot be read is missing.
    """
    roles = [TASK, POOL, *([HELD_OUT] if settings.data.eval_data else [])]
    rows: dict[str, SourceRows] = {}
    for role in roles:
        found = _read(getattr(settings.data, role), role, settings.data.max_row_bytes, refusals)
        if found is not None:
            rows[role] = found
    with refusals.collecting():
        check_columns(rows)
    shared: dict[str, int] = {}
    if TASK in rows and POOL in rows:
        task, pool, training = rows[TASK].dataset, rows[POOL].dataset, settings.training
        shared["references whose prompt is also a task prompt"] = check_overlap(task, pool, allow=True)
        with refusals.collecting():
            apart = references_apart(
                task, pool, allow=training.allow_prompt_overlap, most=training.max_shared_references
            )
            rows[POOL] = replace(rows[POOL], dataset=pool.select(apart))
    for role in (TASK, POOL):
        if HELD_OUT in rows and role in rows:
            count = check_overlap(rows[role].dataset, rows[HELD_OUT].dataset, allow=True)
            shared[f"held-out rows that share a prompt with {role}"] = count
    return rows, shared


def load(
    settings: RunSettings, refusals: Refusals
) -> tuple[RunSettings, PreTrainedModel, PreTrainedTokenizerBase] | None:
    """Load the model; a setting that the model rejects is recorded and replaced.

    Returns:
        The settings used, the model, its tokenizer; None if it cannot be loaded.
    """
    while True:
        found = Refusals()
        with found.collecting():
            return settings, *load_run_model(settings)
        (message,) = found.messages
        refusals.add(message)
        name = message.split(":")[0]
        part = "model" if hasattr(settings.model, name) else "training"
        if name not in FALLBACKS or getattr(getattr(settings, part), name) == FALLBACKS[name]:
            return None
        changed = copy.copy(getattr(settings, part))
        setattr(changed, name, FALLBACKS[name])
        settings = replace(settings, **{part: changed})


def check_record(
    settings: RunSettings,
    record: Mapping[str, Any] | None,
    claimed: Claim,
    rows: Mapping[str, SourceRows],
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None,
    refusals: Refusals,
) -> None:
    """Compare rows, settings and weights with those of the run that is repeated or resumed."""
    directory = RunDirectory(settings.training.output_dir or ".")
    if claimed.checkpoint is not None:
        with refusals.collecting():
            record = record_of_same_run(directory, settings_to_write(settings))
    if record is None:
        return
    data = {role: {"sources": found.sources} | data_record(found.dataset, found.files) for role, found in rows.items()}
    for role, facts in data.items():
        with refusals.collecting():
            check_data(record.get("data", {}), {role: facts}, allow_changed=settings.data.allow_changed_data)
    if claimed.checkpoint is not None and loaded is not None:
        with refusals.collecting():
            check_weights(record, run_record(settings, data, *loaded), allow_changed=settings.data.allow_changed_model)


def prepare(role: str, rows: Dataset, tokenizer: Any, config: Any, refusals: Refusals) -> Prepared | None:
    """Tokenize the rows of a role; None if that fails."""
    with refusals.collecting():
        prepared = prepare_rows(rows, tokenizer, config, name=role)
        assert prepared.report is not None
        return Prepared(prepared, prepared.report, _double_starts(prepared.tokens, tokenizer.bos_token_id))
    return None


def _read(sources: list[str], role: str, limit: int, refusals: Refusals) -> SourceRows | None:
    """The rows of a role; if reading fails, those of the sources that can be read, if any."""
    found, alone = Refusals(), Refusals()
    with found.collecting():
        return read_sources(sources, role, max_row_bytes=limit)
    good = []
    for source in sources if len(sources) > 1 else []:
        with alone.collecting():
            read_sources([source], role, max_row_bytes=limit)
            good.append(source)
    for message in alone.messages or found.messages:
        refusals.add(message)
    return read_sources(good, role, max_row_bytes=limit) if good and len(good) < len(sources) else None


def _double_starts(tokens: Dataset, start: int | None) -> int:
    if start is None:
        return 0
    batches = tokens.select_columns(["input_ids"]).iter(1000)
    return sum(list(ids[:2]) == [start, start] for batch in batches for ids in batch["input_ids"])
