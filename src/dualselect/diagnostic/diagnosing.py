"""Run a diagnostic: check everything, measure batch by batch, write the results.

The folder has settings.json, measured.jsonl (results of finished batches) and, until the end, *.safetensors (the
initial state of all updates, and the directions). The same settings resume an interrupted diagnostic.
"""

import importlib.util
import json
import math
import random
import sys
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from dualselect.diagnostic.figure import FORMATS, write_figure
from dualselect.diagnostic.findings import findings
from dualselect.diagnostic.pool import PoolNumbers, reference_directions, score_pool
from dualselect.diagnostic.probing import UNCORRECTED, Probing, Variant, variants_of
from dualselect.diagnostic.results import TABLES, Measurements, content_of, write_tables
from dualselect.diagnostic.rows import DiagnosticRows, TaskBatch, read_rows, task_batches, tokenize_rows
from dualselect.diagnostic.settings import DiagnosticSettings
from dualselect.diagnostic.strategies import dualselect, periodic_random, uniform
from dualselect.diagnostic.subject import ModelState, Subject
from dualselect.errors import ConfigError, DataError, ResumeError
from dualselect.evaluation.store import Store
from dualselect.gradients import CountSketch
from dualselect.models.checking import check_model
from dualselect.models.fingerprints import model_fingerprint, tokenizer_fingerprint
from dualselect.runs.record import data_record
from dualselect.selection import Choice
from dualselect.system.files import refuse_foreign, write_atomically, write_json
from dualselect.system.lock import folder_lock
from dualselect.training.hardware import check_hardware


RESULT_FILE, SETTINGS_FILE, STORE_FILE = "diagnostic.json", "settings.json", "measured.jsonl"
STATE_FILE, TASK_FILE, REFERENCE_FILE = TENSOR_FILES = (
    "state.safetensors",
    "task_directions.safetensors",
    "reference_directions.safetensors",
)


def diagnose(settings: DiagnosticSettings) -> Path:
    """Run or resume a diagnostic, and write diagnostic.json, the tables and the figure.

    Args:
        settings: Settings of the diagnostic.

    Returns:
        Path of diagnostic.json.

    Raises:
        DualSelectError: Settings, data or model cannot be used. The message says what to change.
        ResumeError: The folder contains a diagnostic with different settings, data or model.
        OSError: The folder cannot be written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            f"the figure needs matplotlib, which is not installed: type {sys.executable} -m pip install "
            "'dualselect[report]'"
        )
    check_hardware(settings.run.training)
    check_model(settings.run.model)
    with folder_lock(settings.folder):
        outputs = (*TABLES.values(), *(f"diagnostic.{ending}" for ending in FORMATS))
        refuse_foreign(settings.folder, outputs, marks=(SETTINGS_FILE, RESULT_FILE, STORE_FILE, *TENSOR_FILES))
        return _diagnose(settings)


def _diagnose(settings: DiagnosticSettings) -> Path:
    folder = settings.folder
    raw_rows = read_rows(settings)
    subject = Subject.of(settings.run)
    data = {
        role: [data_record(one.dataset, one.files) for one in sources] for role, sources in raw_rows.sources.items()
    }
    model = {"weights": model_fingerprint(subject.model), "tokenizer": tokenizer_fingerprint(subject.tokenizer)}
    facts = {"settings": settings.resolved | {"bf16": settings.run.training.bf16}, "data": data, "model": model}
    _refuse_other(folder, facts)
    path = folder / RESULT_FILE
    if not path.exists():
        rows = tokenize_rows(raw_rows, subject.tokenizer, settings.run.training)
        batches = _batches(settings, rows)
        # after all checks, so that rejected settings do not claim the folder
        write_json(folder / SETTINGS_FILE, facts)
        with Store.opened(folder / STORE_FILE) as store:
            measured = _measure(settings, subject, rows, batches, store)
        content = content_of(settings, rows, measured)
        write_json(path, content | {"findings": findings(content)})
        for name in TENSOR_FILES:
            (folder / name).unlink(missing_ok=True)
    content = read_result(path)
    write_tables(content, folder)
    write_figure(content, folder)
    return path


def _refuse_other(folder: Path, facts: dict[str, Any]) -> None:
    """Reject a folder with results of different or unknown settings."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        if left := [name for name in (RESULT_FILE, STORE_FILE, *TENSOR_FILES) if (folder / name).exists()]:
            raise ResumeError(
                f"{folder} contains {', '.join(left)} of a diagnostic but no {SETTINGS_FILE}, so its settings are "
                "unknown: remove the folder, or choose another --output_dir"
            )
    elif (before := read_result(path)) != facts:
        parts = [name for name in facts if before.get(name) != facts[name]]
        raise ResumeError(
            f"{folder} contains a diagnostic with different {' and '.join(parts)} (see {SETTINGS_FILE} there): remove "
            "the folder, or choose another --output_dir"
        )


def _batches(settings: DiagnosticSettings, rows: DiagnosticRows) -> list[TaskBatch]:
    """Sample the task batches, and check that they allow selection."""
    batches = task_batches(
        rows.groups,
        size=settings.rows_per_batch,
        per_group=settings.options.batches,
        seed=settings.run.training.seed,
    )
    reference_count(settings, len(rows.categories))
    if settings.options.period >= len(batches):
        raise ConfigError(
            f"period is {settings.options.period} but there are only {len(batches)} task batches: periodic_random "
            "would select once for all of them. Lower period, or raise batches"
        )
    return batches


def _measure(
    settings: DiagnosticSettings, subject: Subject, rows: DiagnosticRows, batches: list[TaskBatch], store: Store
) -> Measurements:
    folder, config = settings.folder, settings.run.training
    state = _initial_state(settings, subject, rows)
    subject.load(state)
    cached = _cached(folder / TASK_FILE, lambda: _task_directions(subject, rows, batches))
    directions = cached["directions"].to(subject.layout.device)
    buckets = settings.options.sketch
    sketch = CountSketch(subject.layout.size, buckets, seed=config.seed, device=directions.device) if buckets else None
    # the last row is the mean task direction, for `static`
    numbers = score_pool(subject, rows, torch.cat([directions, directions.mean(0)[None]]), store, sketch=sketch)
    selected = select(settings, rows, numbers, len(batches))
    choices = {_key(choice): choice for by_batch in selected.values() for choice in by_batch}
    cached = _cached(
        folder / REFERENCE_FILE,
        lambda: {"directions": reference_directions(subject, rows.pool.tokens, list(choices.values()))},
    )
    direction_of = dict(zip(choices, cached["directions"].to(subject.layout.device), strict=True))
    references = {name: [direction_of[_key(it)] for it in by_batch] for name, by_batch in selected.items()}
    probing = Probing(subject, rows, state, settings.options.updates)
    if "start" not in store:
        store.add({"start": probing.before_updates()})
    probes = _probe_all(settings, probing, batches, directions, references, store)
    return Measurements(batches, numbers, selected, store["start"], probes)


def _probe_all(
    settings: DiagnosticSettings,
    probing: Probing,
    batches: list[TaskBatch],
    directions: Tensor,
    references: dict[str, list[Tensor]],
    store: Store,
) -> dict[Variant, list[dict[str, Any]]]:
    """Probe every batch with every variant. Each result is stored immediately."""
    results: dict[Variant, list[dict[str, Any]]] = {variant: [] for variant in variants_of(settings)}
    disable = settings.run.training.disable_tqdm
    with tqdm(total=len(batches) * len(results), desc="Probing", unit="update", disable=disable) as bar:
        for number, batch in enumerate(batches):
            for variant, by_batch in results.items():
                key = f"probe/{number}/{variant.name}"
                if key not in store:
                    reference = None if variant == UNCORRECTED else references[variant.strategy][number]
                    store.add({key: probing.measure(batch, directions[number], reference, variant.correction)})
                by_batch.append(store[key])
                bar.update()
    return results


def select(
    settings: DiagnosticSettings, rows: DiagnosticRows, numbers: PoolNumbers, batches: int
) -> dict[str, list[Choice]]:
    """Selections of each strategy for each batch."""
    config, options = settings.run.training, settings.options
    size = len(rows.categories)
    count = reference_count(settings, size)
    by_direction = dualselect(
        numbers.preservation_losses,
        numbers.cosines,
        count,
        loss_weight=config.reference_loss_weight,
        conflict_weight=config.conflict_weight,
        temperature=config.reference_temperature if config.selection_mode == "soft" else None,
    )
    return {
        "dualselect": by_direction[:-1],
        "static": by_direction[-1:] * batches,
        "periodic_random": periodic_random(size, count, batches, period=options.period, seed=config.seed),
        "uniform": uniform(rows.categories, count, batches, seed=config.seed),
    }


def reference_count(settings: DiagnosticSettings, references: int) -> int:
    """K, the number of references that each strategy selects.

    Raises:
        DataError: K is the size of the pool.
    """
    config = settings.run.training
    count = config.reference_top_k or math.ceil(config.reference_fraction * references - 1e-9)
    if count >= references:
        raise DataError(
            f"{count} references would be selected from a pool of {references}, which leaves no choice. Add "
            "references, or lower reference_top_k or reference_fraction"
        )
    return count


def _initial_state(settings: DiagnosticSettings, subject: Subject, rows: DiagnosticRows) -> ModelState:
    """The initial state of all updates: after `selection_warmup_steps` plain steps that alternate between groups."""

    def warmed_up() -> dict[str, Tensor]:
        state = subject.state()
        steps = settings.run.training.planned_warmup_steps()
        batches = _mixed(rows.groups, settings.rows_per_batch, settings.run.training.seed)
        for positions in tqdm(islice(batches, steps), "Warm-up", steps, disable=subject.config.disable_tqdm):
            state = subject.step(state, subject.mean_gradient(rows.task.tokens, positions))
        return {"weights": state.weights, "moments": torch.stack([state.first_moment, state.second_moment])}

    cached = _cached(settings.folder / STATE_FILE, warmed_up)
    moments = cached["moments"].to(subject.layout.device)
    steps = settings.run.training.planned_warmup_steps()
    return ModelState(cached["weights"].to(subject.layout.device), moments[0], moments[1], steps)


def _mixed(groups: list[str], size: int, seed: int) -> Iterator[list[int]]:
    """Endless batches that alternate between groups, each group shuffled."""
    order = random.Random(f"{seed}/warm-up")  # noqa: S311 - sampling, not security
    members = []
    for group in sorted(set(groups)):
        rows = [position for position, name in enumerate(groups) if name == group]
        order.shuffle(rows)
        members.append(cycle(rows))
    groups_in_turn = cycle(members)
    while True:
        yield [next(next(groups_in_turn)) for _ in range(size)]


def _task_directions(subject: Subject, rows: DiagnosticRows, batches: list[TaskBatch]) -> dict[str, Tensor]:
    bar = tqdm(batches, desc="Task directions", unit="batch", disable=subject.config.disable_tqdm)
    return {"directions": torch.stack([subject.mean_gradient(rows.task.tokens, batch.rows) for batch in bar])}


def _cached(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Read tensors from a file, or compute and write them atomically."""
    if not path.exists():
        tensors = make()
        write_atomically(path, lambda file: file.write(save(tensors)))
    return load_file(path)


def _key(choice: Choice) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(choice.kept), tuple(choice.weights[choice.kept].tolist())


def read_result(path: Path) -> dict[str, Any]:
    """Content of a JSON file of a diagnostic."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
