"""A diagnostic from its settings: everything checked, then measured batch by batch, then told.

The folder holds settings.json (what is measured), measured.jsonl (each batch as it is done), and *.safetensors (the
place where all updates begin and the directions, until all is done); the same settings go on where they stopped.
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
from dualselect.diagnostic.pool import PoolNumbers, reference_directions, score_pool
from dualselect.diagnostic.probing import UNCORRECTED, Probing, Variant, variants_of
from dualselect.diagnostic.reading import reading
from dualselect.diagnostic.results import TABLES, Measured, content_of, write_tables
from dualselect.diagnostic.rows import DiagnosticRows, TaskBatch, read_rows, task_batches, tokenize_rows
from dualselect.diagnostic.settings import DiagnosticSettings
from dualselect.diagnostic.sketch import CountSketch
from dualselect.diagnostic.strategies import dualselect, periodic_random, uniform
from dualselect.diagnostic.subject import Place, Subject
from dualselect.errors import ConfigError, DataError, ResumeError
from dualselect.evaluation.store import Store
from dualselect.models.checking import check_model
from dualselect.runs.record import data_record, model_fingerprint, tokenizer_fingerprint
from dualselect.selection import Choice
from dualselect.system.files import refuse_foreign, write_atomically, write_json
from dualselect.system.lock import folder_lock
from dualselect.training.hardware import check_hardware


RESULT_FILE, SETTINGS_FILE, STORE_FILE = "diagnostic.json", "settings.json", "measured.jsonl"
PLACE_FILE, TASK_FILE, REFERENCE_FILE = TENSOR_FILES = (
    "place.safetensors",
    "task_directions.safetensors",
    "reference_directions.safetensors",
)


def diagnose(settings: DiagnosticSettings) -> Path:
    """Measure what is not measured yet, and write the tables, the figure and the reading.

    Args:
        settings: What to measure, and where to keep it.

    Returns:
        The path of diagnostic.json.

    Raises:
        DualSelectError: Settings, data or model cannot be used; the message says what to change.
        ResumeError: The folder holds a diagnostic with other settings, data or model.
        OSError: The folder cannot be written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            f"the figure needs matplotlib, not installed here: type {sys.executable} -m pip install "
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
    given = read_rows(settings)
    subject = Subject.of(settings.run)
    data = {role: [data_record(one.dataset, one.files) for one in sources] for role, sources in given.sources.items()}
    made_with = {"weights": model_fingerprint(subject.model), "tokenizer": tokenizer_fingerprint(subject.tokenizer)}
    facts = {"settings": settings.written, "data": data, "model": made_with}
    _refuse_other(folder, facts)
    path = folder / RESULT_FILE
    if not path.exists():
        rows = tokenize_rows(given, subject.tokenizer, settings.run.training)
        batches = _batches(settings, rows)
        # after all that may be refused, so that the folder is not taken by settings that measured nothing
        write_json(folder / SETTINGS_FILE, facts)
        with Store.opened(folder / STORE_FILE) as store:
            measured = _measure(settings, subject, rows, batches, store)
        content = content_of(settings, rows, measured)
        write_json(path, content | {"reading": reading(content)})
        for name in TENSOR_FILES:
            (folder / name).unlink(missing_ok=True)
    content = read_result(path)
    write_tables(content, folder)
    write_figure(content, folder)
    return path


def _refuse_other(folder: Path, facts: dict[str, Any]) -> None:
    """Refuse a folder with what was measured with other settings, or nobody knows with which."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        if left := [name for name in (RESULT_FILE, STORE_FILE, *TENSOR_FILES) if (folder / name).exists()]:
            raise ResumeError(
                f"{folder} holds {', '.join(left)} of a diagnostic and no {SETTINGS_FILE}, so that its settings are "
                "not known: remove the folder, or name another --output_dir"
            )
    elif (before := read_result(path)) != facts:
        parts = [name for name in facts if before.get(name) != facts[name]]
        raise ResumeError(
            f"{folder} holds a diagnostic with other {' and '.join(parts)} (see {SETTINGS_FILE} there): remove the "
            "folder, or name another --output_dir"
        )


def _batches(settings: DiagnosticSettings, rows: DiagnosticRows) -> list[TaskBatch]:
    """The task batches, checked together with what is picked for them."""
    batches = task_batches(
        rows.groups,
        size=settings.rows_per_batch,
        per_group=settings.options.batches,
        seed=settings.run.training.seed,
    )
    reference_count(settings, len(rows.categories))
    if settings.options.period >= len(batches):
        raise ConfigError(
            f"period is {settings.options.period} and there are {len(batches)} task batches: periodic_random would be "
            "one choice for all of them. Lower period, or raise batches"
        )
    return batches


def _measure(
    settings: DiagnosticSettings, subject: Subject, rows: DiagnosticRows, batches: list[TaskBatch], store: Store
) -> Measured:
    folder, config = settings.folder, settings.run.training
    place = _place(settings, subject, rows)
    subject.move_to(place)
    kept = _kept(folder / TASK_FILE, lambda: _task_directions(subject, rows, batches))
    directions = kept["directions"].to(subject.layout.device)
    buckets = settings.options.sketch
    sketch = CountSketch(subject.layout.size, buckets, seed=config.seed, device=directions.device) if buckets else None
    # the last row is the mean task direction, what `static` looks at
    numbers = score_pool(subject, rows, torch.cat([directions, directions.mean(0)[None]]), store, sketch=sketch)
    selected = select(settings, rows, numbers, len(batches))
    choices = {_key(choice): choice for some in selected.values() for choice in some}
    kept = _kept(
        folder / REFERENCE_FILE,
        lambda: {"directions": reference_directions(subject, rows.pool.tokens, list(choices.values()))},
    )
    reference_of = dict(zip(choices, kept["directions"].to(subject.layout.device), strict=True))
    picked = {name: [reference_of[_key(choice)] for choice in some] for name, some in selected.items()}
    probing = Probing(subject, rows, place, settings.options.updates)
    if "start" not in store:
        store.add({"start": probing.at_place()})
    probes = _probed(settings, probing, batches, directions, picked, store)
    return Measured(batches, numbers, selected, store["start"], probes)


def _probed(
    settings: DiagnosticSettings,
    probing: Probing,
    batches: list[TaskBatch],
    directions: Tensor,
    picked: dict[str, list[Tensor]],
    store: Store,
) -> dict[Variant, list[dict[str, Any]]]:
    """Each batch updated in every way, each kept on disk as it is done."""
    found: dict[Variant, list[dict[str, Any]]] = {variant: [] for variant in variants_of(settings)}
    disable = settings.run.training.disable_tqdm
    with tqdm(total=len(batches) * len(found), desc="Probing", unit="update", disable=disable) as bar:
        for number, batch in enumerate(batches):
            for variant, of_batches in found.items():
                key = f"probe/{number}/{variant.name}"
                if key not in store:
                    reference = None if variant == UNCORRECTED else picked[variant.strategy][number]
                    store.add({key: probing.measure(batch, directions[number], reference, variant.correction)})
                of_batches.append(store[key])
                bar.update()
    return found


def select(
    settings: DiagnosticSettings, rows: DiagnosticRows, numbers: PoolNumbers, batches: int
) -> dict[str, list[Choice]]:
    """What each strategy selects for each batch."""
    config, options = settings.run.training, settings.options
    size = len(rows.categories)
    count = reference_count(settings, size)
    chosen = dualselect(
        numbers.preservation_losses,
        numbers.cosines,
        count,
        loss_weight=config.reference_loss_weight,
        conflict_weight=config.conflict_weight,
        temperature=config.reference_temperature if config.selection_mode == "soft" else None,
    )
    return {
        "dualselect": chosen[:-1],
        "static": chosen[-1:] * batches,
        "periodic_random": periodic_random(size, count, batches, period=options.period, seed=config.seed),
        "uniform": uniform(rows.categories, count, batches, seed=config.seed),
    }


def reference_count(settings: DiagnosticSettings, references: int) -> int:
    """K, the references that each strategy picks.

    Raises:
        DataError: They are all there are.
    """
    config = settings.run.training
    wanted = config.reference_top_k or math.ceil(config.reference_fraction * references - 1e-9)
    if wanted >= references:
        raise DataError(
            f"{wanted} references are to be picked of a pool of {references}: there is nothing to choose. Give more "
            "references, or lower reference_top_k or reference_fraction"
        )
    return wanted


def _place(settings: DiagnosticSettings, subject: Subject, rows: DiagnosticRows) -> Place:
    """Where all updates begin: after `selection_warmup_steps` plain steps on all groups in turn."""

    def warmed_up() -> dict[str, Tensor]:
        place = subject.place()
        steps = settings.run.training.planned_warmup_steps()
        batches = _mixed(rows.groups, settings.rows_per_batch, settings.run.training.seed)
        for positions in tqdm(islice(batches, steps), "Warm-up", steps, disable=subject.config.disable_tqdm):
            place = subject.step(place, subject.mean_gradient(rows.task.tokens, positions))
        return {"weights": place.weights, "moments": torch.stack([place.first_moment, place.second_moment])}

    kept = _kept(settings.folder / PLACE_FILE, warmed_up)
    moments = kept["moments"].to(subject.layout.device)
    steps = settings.run.training.planned_warmup_steps()
    return Place(kept["weights"].to(subject.layout.device), moments[0], moments[1], steps)


def _mixed(groups: list[str], size: int, seed: int) -> Iterator[list[int]]:
    """Endless batches in which the groups take turns, each in an order of its own."""
    order = random.Random(f"{seed}/warm-up")  # noqa: S311 - no secret
    members = []
    for group in sorted(set(groups)):
        rows = [position for position, name in enumerate(groups) if name == group]
        order.shuffle(rows)
        members.append(cycle(rows))
    turns = cycle(members)
    while True:
        yield [next(next(turns)) for _ in range(size)]


def _task_directions(subject: Subject, rows: DiagnosticRows, batches: list[TaskBatch]) -> dict[str, Tensor]:
    bar = tqdm(batches, desc="Task directions", unit="batch", disable=subject.config.disable_tqdm)
    return {"directions": torch.stack([subject.mean_gradient(rows.task.tokens, batch.rows) for batch in bar])}


def _kept(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors from a file, made and written whole if it is not there."""
    if not path.exists():
        tensors = make()
        write_atomically(path, lambda file: file.write(save(tensors)))
    return load_file(path)


def _key(choice: Choice) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(choice.kept), tuple(choice.weights[choice.kept].tolist())


def read_result(path: Path) -> dict[str, Any]:
    """The content of a JSON file of a diagnostic."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
