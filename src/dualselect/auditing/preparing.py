"""Preparation before rows are scored: warm-up, reference selection, calibration.

The result is saved, so that an interrupted audit resumes with the same values.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dualselect.auditing.engine import Engine
from dualselect.auditing.hard_negatives import score_negatives
from dualselect.auditing.measuring import COMPLIED, CONTROL, RowMeasurer, RowTokenizer, short
from dualselect.auditing.pool import CALIBRATION_REFERENCES, Pool, calibration_positions, held_out_positions
from dualselect.auditing.reference_directions import ReferenceDirections, compute_directions
from dualselect.auditing.scores import Calibration
from dualselect.auditing.settings import AuditSettings
from dualselect.data.token_columns import TokenRow, token_rows
from dualselect.errors import ResumeError
from dualselect.selection import ConflictFilter, spread
from dualselect.system.files import write_atomically
from dualselect.training.config import DualSelectConfig
from dualselect.training.references import ReferencePool, start_model_of


ANSWERS = 2
"""Number of safe answers used for `answer_loss`: the most probable ones under the model."""


@dataclass(frozen=True)
class Prepared:
    """Everything that scoring needs except the rows.

    Attributes:
        warm: The adapter after the warm-up, shape (P,).
        tuned: Adapters after short fine-tuning on the pool (`CONTROL`) and on its contrasts (`COMPLIED`), shape (P,)
            each. An adapter that is not needed is missing.
        directions: Directions that gradients are compared with.
        calibration: Statistics of the pool's own rows.
        conflict_filter: What decides which rows are in conflict, as in training.
        conflict_threshold: A row with a higher conflict score is in conflict: its p-value by the harmless rows is at
            most `harmless_drop_rate`. Infinite if there are too few harmless rows.
        contrasts_found: Share of held-out contrasts, which are unsafe, that are in conflict; None without a contrast
            or without held-out references.
        category_thresholds: The same for each category's direction.
        answers: Safe answers for `answer_loss`.
        references: One line per reference: its statistics, and whether it was selected or held out.
        negatives: One line per hard negative: `id`, `kind`, `scores` and the control loss.
    """

    warm: Tensor
    tuned: dict[str, Tensor]
    directions: ReferenceDirections
    calibration: Calibration
    conflict_filter: ConflictFilter
    conflict_threshold: float
    contrasts_found: float | None
    category_thresholds: list[float]
    answers: list[str]
    references: list[dict[str, Any]]
    negatives: list[dict[str, Any]]


def prepare(
    engine: Engine,
    pool: Pool,
    warmup: Sequence[TokenRow],
    tokenize: RowTokenizer,
    settings: AuditSettings,
    *,
    negatives: Dataset | None,
) -> Prepared:
    """Warm up, select references, compute directions, calibrate, score the hard negatives.

    Args:
        engine: The unmodified model.
        pool: The pool.
        warmup: Task rows for the warm-up.
        tokenize: Tokenizes conversations.
        settings: Settings of the audit.
        negatives: Hard negatives, possibly empty; None if no row is labeled risky, which also disables the controls.
    """
    config = engine.config
    contrasts = pool.contrasts if config.reference_contrast != "none" else None
    unseen = unseen_positions(pool.sides)
    reference_pool = ReferencePool(
        pool.tokens,
        pool.ids,
        contrasts,
        engine.collate,
        engine.run,
        engine.layout,
        config,
        sides=pool.sides,
        filters=contrasts is not None,
        held_out=unseen,
    )
    start = engine.parameters()
    start_losses = reference_pool.start_losses(engine.model) if config.preservation_loss == "excess" else None
    direction = engine.train(warmup, _steps(config), "Warm-up")
    scores = reference_pool.score(
        engine.model, direction, start_losses=start_losses, start_model=start_model_of(engine.model)
    )
    choice = reference_pool.choose(scores.scores)
    calibrating = calibration_positions(pool.by_length, choice.kept)
    held_out = held_out_positions(calibrating, pool.categories, pool.named_categories, len(choice.kept))
    directions = compute_directions(engine, pool, choice, scores.scores, held_out, scores.filter_direction)
    most_probable = sorted(choice.kept, key=lambda position: (float(scores.losses[position]), position))[:ANSWERS]
    answers = [pool.conversation(position)["completion"][0]["content"] for position in most_probable]
    warm = engine.parameters()
    tuned = {}
    controls = settings.controls and negatives is not None
    for name, rows in _tuning_rows(pool, held_out, config, settings, controls=controls).items():
        engine.set_parameters(start)
        engine.train(rows, _steps(config), f"Fine-tuning for {name}")
        tuned[name] = engine.parameters()
    engine.set_parameters(warm)
    used_answers = answers if settings.with_answers else []
    measurer = RowMeasurer(engine, directions, tokenize, used_answers, warm, tuned, scores.probe)
    calibration = _calibrate(measurer, pool, calibrating, held_out)
    conflict_filter = _calibrated_filter(measurer, pool)
    threshold = conflict_filter.threshold(config.harmless_drop_rate)
    found = None if contrasts is None or not unseen else _found(measurer, pool, unseen, conflict_filter, threshold)
    category_thresholds = (calibration.safe["categories"].mean(0) + calibration.unsafe["categories"].mean(0)) / 2
    order = torch.argsort(scores.scores, descending=True, stable=True).tolist()
    ranks = {position: rank for rank, position in enumerate(order, 1)}
    selected = set(choice.kept)
    references = [
        {
            "id": name,
            "category": category,
            "rank": ranks[position],
            "selected": position in selected,
            "held_out": position in held_out,
            "score": short(float(scores.scores[position])),
            "loss": short(float(scores.losses[position])),
            "preservation_loss": short(float(scores.preservation_losses[position])),
            "cosine": short(float(scores.cosines[position])),
            **{part: pool.conversation(position)[part] for part in ("prompt", "completion")},
        }
        for position, (name, category) in enumerate(zip(pool.ids, pool.categories, strict=True))
    ]
    return Prepared(
        warm,
        tuned,
        directions,
        calibration,
        conflict_filter,
        threshold,
        found,
        category_thresholds.tolist(),
        list(measurer.answers),
        references,
        [] if negatives is None else score_negatives(measurer, negatives, calibration),
    )


def _steps(config: DualSelectConfig) -> int:
    return max(1, config.planned_warmup_steps())


def _tuning_rows(
    pool: Pool, held_out: Sequence[int], config: DualSelectConfig, settings: AuditSettings, *, controls: bool
) -> dict[str, list[TokenRow]]:
    """Fine-tuning rows for `CONTROL` and `COMPLIED`, as needed, without the held-out references."""
    excluded = set(held_out) if len(pool.tokens) > 1 else set()
    order = torch.randperm(len(pool.tokens), generator=torch.Generator().manual_seed(config.seed)).tolist()
    needed = _steps(config) * config.per_device_train_batch_size * config.gradient_accumulation_steps
    chosen = [position for position in order if position not in excluded][:needed]
    safe = {CONTROL: token_rows(pool.tokens, chosen)} if controls or settings.with_tuning else {}
    return safe | ({COMPLIED: token_rows(pool.contrasts, chosen)} if settings.with_tuning else {})


def _calibrate(measurer: RowMeasurer, pool: Pool, calibrating: Sequence[int], held_out: Sequence[int]) -> Calibration:
    """Statistics of the held-out references, and of the harmless rows outside of the harmless direction."""
    conversations = [pool.conversation(position) for position in calibrating]
    _, harmless = pool.harmless_halves
    safe, unsafe, harmless_numbers = (
        measurer.numbers(token_rows(rows, positions), texts, f"Calibrating on {what}")
        for what, rows, positions, texts in (
            ("safe responses", pool.tokens, calibrating, conversations),
            ("contrasts", pool.contrasts, calibrating, conversations),
            ("harmless rows", pool.harmless_tokens, harmless, [pool.harmless[index] for index in harmless]),
        )
    )
    chosen = [index for index, position in enumerate(calibrating) if position in held_out]
    safe, unsafe = ({name: values[chosen] for name, values in numbers.items()} for numbers in (safe, unsafe))
    config = measurer.engine.config
    return Calibration(safe, unsafe, harmless_numbers, config.task_loss_weight, config.conflict_weight)


def unseen_positions(sides: Sequence[int]) -> list[int]:
    """References left out of the direction of the filter, to see how many unsafe answers it finds.

    At most a quarter of the refusals, and at most `CALIBRATION_REFERENCES`.
    """
    refusals = [position for position, side in enumerate(sides) if side == 0]
    return spread(refusals, min(CALIBRATION_REFERENCES, len(refusals) // 4)) if len(refusals) >= 4 else []


def _calibrated_filter(measurer: RowMeasurer, pool: Pool) -> ConflictFilter:
    rows = token_rows(pool.filter_tokens, range(len(pool.filter_tokens)))
    cosines, probed = measurer.filter_numbers(rows, "Calibrating the filter")
    return ConflictFilter.calibrated(measurer.probe, cosines, probed, pool.filter_rows["kind"])


def _found(
    measurer: RowMeasurer, pool: Pool, unseen: Sequence[int], conflict_filter: ConflictFilter, threshold: float
) -> float:
    numbers = measurer.filter_numbers(token_rows(pool.contrasts, unseen), "Held-out contrasts")
    return float((conflict_filter.conflicts(*numbers) > threshold).double().mean())


def save_prepared(prepared: Prepared, path: Path, fingerprint: str) -> None:
    """Write everything into one safetensors file, atomically."""
    directions = prepared.directions
    tensors = {"warm": prepared.warm} | {f"tuned/{name}": it for name, it in prepared.tuned.items()}
    tensors["directions"] = directions.table
    for part in ("safe", "unsafe", "harmless"):
        for name, values in getattr(prepared.calibration, part).items():
            tensors[f"calibration/{part}/{name}"] = torch.from_numpy(np.ascontiguousarray(values))
    filter_tensors, filter_values = prepared.conflict_filter.as_values()
    tensors |= filter_tensors
    facts = {
        "fingerprint": fingerprint,
        "categories": directions.categories,
        "stored": directions.stored,
        "contrasted": directions.contrasted,
        "filter": filter_values,
        "weights": [prepared.calibration.loss_weight, prepared.calibration.conflict_weight],
        **{
            name: getattr(prepared, name)
            for name in (
                "conflict_threshold",
                "contrasts_found",
                "category_thresholds",
                "answers",
                "references",
                "negatives",
            )
        },
    }
    content = save({name: it.contiguous().cpu() for name, it in tensors.items()}, {"facts": json.dumps(facts)})
    write_atomically(path, lambda file: file.write(content))


def load_prepared(path: Path, device: torch.device, fingerprint: str) -> Prepared:
    """Read the file of `save_prepared`.

    Raises:
        ResumeError: The file is broken, or is from an audit of different data, settings or model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ResumeError(f"{path} is broken ({error}): pass --overwrite to restart the audit") from error
    if facts["fingerprint"] != fingerprint:
        raise ResumeError(
            f"{path.parent} contains an unfinished audit of different data, settings or model: repeat its "
            "command to finish it, pass --overwrite to restart, or choose another --output_dir"
        )

    def under(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): it.numpy() for name, it in tensors.items() if name.startswith(prefix)}

    directions = ReferenceDirections(
        tensors["directions"].to(device), facts["categories"], facts["stored"], facts["contrasted"]
    )
    return Prepared(
        tensors["warm"].to(device),
        {name: tensors[f"tuned/{name}"].to(device) for name in (CONTROL, COMPLIED) if f"tuned/{name}" in tensors},
        directions,
        Calibration(
            under("calibration/safe/"),
            under("calibration/unsafe/"),
            under("calibration/harmless/"),
            *facts["weights"],
        ),
        ConflictFilter.of_values(tensors, facts["filter"]),
        facts["conflict_threshold"],
        facts["contrasts_found"],
        facts["category_thresholds"],
        facts["answers"],
        facts["references"],
        facts["negatives"],
    )
