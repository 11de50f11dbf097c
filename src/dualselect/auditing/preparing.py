"""What stands between the first pass over the data and the scoring of its rows: warm-up, references, calibration.

It is saved, so that an audit that was cut off goes on with the same numbers.
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

from dualselect.auditing.bearings import Bearings, take_bearings
from dualselect.auditing.engine import Engine, TokenRow, token_rows
from dualselect.auditing.measuring import COMPLIED, CONTROL, Measuring, RowTokenizer, short
from dualselect.auditing.negatives import score_negatives
from dualselect.auditing.pool import Pool, calibration_positions, held_out_positions
from dualselect.auditing.scores import Calibration
from dualselect.auditing.settings import AuditSettings
from dualselect.errors import ResumeError
from dualselect.system.files import write_atomically
from dualselect.training.config import DualSelectConfig
from dualselect.training.references import ReferencePool, start_model_of


ANSWERS = 2
"""Safe answers of the pool that a row's prompt is tried with: those that the model expects most."""


@dataclass(frozen=True)
class Prepared:
    """All that scoring a row needs beside the row.

    Attributes:
        warm: The adapter after the warm-up, shape (P,).
        tuned: The adapter after a short fine-tuning on the pool, and after one on its contrasts, each of shape (P,),
            by the name of the number that is taken with it; those that are needed.
        bearings: What rows are compared with.
        calibration: Numbers of the pool's own rows.
        conflict_threshold: Cosine to the reference direction under which a row is in conflict.
        category_thresholds: The same for each category's direction.
        answers: Safe answers that prompts are tried with.
        references: One for each reference: what was found about it, and whether it was selected or held out.
        negatives: One for each built-in row that is hard to tell from risky ones: `id`, `kind`, `scores`, the control.
    """

    warm: Tensor
    tuned: dict[str, Tensor]
    bearings: Bearings
    calibration: Calibration
    conflict_threshold: float
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
    """Warm up, choose references, take the bearings, calibrate, score the hard negatives.

    Args:
        engine: The model as it was given.
        pool: The pool.
        warmup: Task rows for the warm-up.
        tokenize: From conversations to tokens.
        settings: What is asked for.
        negatives: Rows that are hard to tell from risky ones, may be none; None where no row is known to be risky, so
            that neither they nor controls are needed.
    """
    config = engine.config
    contrasts = pool.contrasts if config.reference_contrast != "none" else None
    at_work = ReferencePool(pool.tokens, pool.ids, contrasts, engine.collate, engine.gradients, engine.layout, config)
    start = engine.parameters()
    start_losses = at_work.start_losses(engine.model) if config.preservation_loss == "excess" else None
    direction = engine.train(warmup, _steps(config), "Warm-up")
    scores = at_work.score(
        engine.model, direction, start_losses=start_losses, start_model=start_model_of(engine.model)
    )
    choice = at_work.choose(scores.scores)
    calibrating = calibration_positions(pool.by_length, choice.kept)
    held_out = held_out_positions(calibrating, pool.categories, pool.named_categories, len(choice.kept))
    bearings = take_bearings(engine, pool, choice, scores.scores, held_out)
    expected = sorted(choice.kept, key=lambda position: (float(scores.losses[position]), position))[:ANSWERS]
    answers = [pool.conversation(position)["completion"][0]["content"] for position in expected]
    warm = engine.parameters()
    tuned = {}
    controls = settings.controls and negatives is not None
    for name, rows in _tuning_rows(pool, held_out, config, settings, controls=controls).items():
        engine.set_parameters(start)
        engine.train(rows, _steps(config), f"Fine-tuning for {name}")
        tuned[name] = engine.parameters()
    engine.set_parameters(warm)
    measuring = Measuring(engine, bearings, tokenize, answers if settings.with_answers else [], warm, tuned)
    calibration, conflict = _calibrate(measuring, pool, calibrating, held_out)
    of_categories = (calibration.safe["categories"].mean(0) + calibration.unsafe["categories"].mean(0)) / 2
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
        bearings,
        calibration,
        conflict,
        of_categories.tolist(),
        list(measuring.answers),
        references,
        [] if negatives is None else score_negatives(measuring, negatives, calibration),
    )


def _steps(config: DualSelectConfig) -> int:
    return max(1, config.planned_warmup_steps())


def _tuning_rows(
    pool: Pool, held_out: Sequence[int], config: DualSelectConfig, settings: AuditSettings, *, controls: bool
) -> dict[str, list[TokenRow]]:
    """What is fine-tuned on for each number that needs it, without the references that scores are calibrated on."""
    left_out = set(held_out) if len(pool.tokens) > 1 else set()
    order = torch.randperm(len(pool.tokens), generator=torch.Generator().manual_seed(config.seed)).tolist()
    needed = _steps(config) * config.per_device_train_batch_size * config.gradient_accumulation_steps
    chosen = [position for position in order if position not in left_out][:needed]
    safe = {CONTROL: token_rows(pool.tokens, chosen)} if controls or settings.with_tuning else {}
    return safe | ({COMPLIED: token_rows(pool.contrasts, chosen)} if settings.with_tuning else {})


def _calibrate(
    measuring: Measuring, pool: Pool, calibrating: Sequence[int], held_out: Sequence[int]
) -> tuple[Calibration, float]:
    """What scores are calibrated on, and the conflict threshold.

    The threshold is read off the whole sample, as in training, since the selected references alone make the direction;
    all else is calibrated on the references that were held out and on the harmless rows that made no direction.
    """
    conversations = [pool.conversation(position) for position in calibrating]
    _, harmless = pool.harmless_halves
    safe, unsafe, calm = (
        measuring.numbers(token_rows(rows, positions), known, f"Calibrating on {what}")
        for what, rows, positions, known in (
            ("safe responses", pool.tokens, calibrating, conversations),
            ("contrasts", pool.contrasts, calibrating, conversations),
            ("harmless rows", pool.harmless_tokens, harmless, [pool.harmless[place] for place in harmless]),
        )
    )
    conflict = float(safe["cosine"].mean() + unsafe["cosine"].mean()) / 2
    apart = [place for place, position in enumerate(calibrating) if position in held_out]
    safe, unsafe = ({name: values[apart] for name, values in some.items()} for some in (safe, unsafe))
    config = measuring.engine.config
    return Calibration(safe, unsafe, calm, config.task_loss_weight, config.conflict_weight), conflict


def save_prepared(prepared: Prepared, path: Path, fingerprint: str) -> None:
    """Write everything into one safetensors file, whole or not at all."""
    bearings = prepared.bearings
    tensors = {"warm": prepared.warm} | {f"tuned/{name}": it for name, it in prepared.tuned.items()}
    tensors |= {name: getattr(bearings, name) for name in ("directions", "of_categories", "safe", "unsafe")}
    for part in ("safe", "unsafe", "harmless"):
        for name, values in getattr(prepared.calibration, part).items():
            tensors[f"calibration/{part}/{name}"] = torch.from_numpy(np.ascontiguousarray(values))
    facts = {
        "fingerprint": fingerprint,
        "categories": bearings.categories,
        "kept": bearings.kept,
        "contrasted": bearings.contrasted,
        "weights": [prepared.calibration.loss_weight, prepared.calibration.conflict_weight],
        **{
            name: getattr(prepared, name)
            for name in ("conflict_threshold", "category_thresholds", "answers", "references", "negatives")
        },
    }
    content = save({name: it.contiguous().cpu() for name, it in tensors.items()}, {"facts": json.dumps(facts)})
    write_atomically(path, lambda file: file.write(content))


def load_prepared(path: Path, device: torch.device, fingerprint: str) -> Prepared:
    """Read what `save_prepared` wrote.

    Raises:
        ResumeError: The file is broken, or of an audit with other data, settings or another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ResumeError(f"{path} is broken ({error}): write --overwrite to start the audit anew") from error
    if facts["fingerprint"] != fingerprint:
        raise ResumeError(
            f"{path.parent} holds an unfinished audit of other data, settings, or another model: repeat its "
            "command to finish it, write --overwrite to start anew, or name another --output_dir"
        )

    def under(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): it.numpy() for name, it in tensors.items() if name.startswith(prefix)}

    bearings = Bearings(
        tensors["directions"].to(device),
        facts["categories"],
        tensors["of_categories"].to(device),
        facts["kept"],
        tensors["safe"].to(device),
        tensors["unsafe"].to(device),
        facts["contrasted"],
    )
    return Prepared(
        tensors["warm"].to(device),
        {name: tensors[f"tuned/{name}"].to(device) for name in (CONTROL, COMPLIED) if f"tuned/{name}" in tensors},
        bearings,
        Calibration(
            under("calibration/safe/"),
            under("calibration/unsafe/"),
            under("calibration/harmless/"),
            *facts["weights"],
        ),
        facts["conflict_threshold"],
        facts["category_thresholds"],
        facts["answers"],
        facts["references"],
        facts["negatives"],
    )
