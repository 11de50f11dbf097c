"""Run an audit: survey the data, prepare the reference pool, score every row, write the results.

The output folder contains all files. While the audit runs, it also contains the state for resuming after an interrupt.
"""

import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig, PeftConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualselect.auditing.aggregates import Aggregates, share
from dualselect.auditing.engine import adapted
from dualselect.auditing.hard_negatives import hard_negatives, needed_negatives
from dualselect.auditing.measuring import RowMeasurer, RowTokenizer, is_supervised, row_tokenizer
from dualselect.auditing.output_files import NEGATIVES, REFERENCES, ROWS, TABLE, read_rows, write_rows
from dualselect.auditing.pool import Pool, prepare_pool
from dualselect.auditing.preparing import Prepared, load_prepared, prepare, save_prepared
from dualselect.auditing.rows import TaskRows
from dualselect.auditing.scoring import score_rows
from dualselect.auditing.settings import AuditSettings
from dualselect.auditing.store import ScoreStore
from dualselect.auditing.summary import FORMAT, LEAST_FOUND, RULE, SUMMARY, AuditSummary
from dualselect.auditing.survey import Survey, survey_rows
from dualselect.data.checks import leave_out_shared
from dualselect.data.rendering import renderer
from dualselect.data.source_rows import BUILTIN, read_sources
from dualselect.data.token_columns import TokenRow
from dualselect.errors import ConfigError, DataError
from dualselect.models.fingerprints import adapter_scaling, model_fingerprint, tokenizer_fingerprint
from dualselect.runs.directory import REPORT
from dualselect.runs.record import rows_sha256
from dualselect.system.files import refuse_foreign, write_json
from dualselect.system.lock import folder_lock
from dualselect.training.config import DualSelectConfig
from dualselect.training.hardware import check_hardware
from dualselect.training.ignored_settings import IGNORED_BY_PLAIN_STEPS, warn_ignored


logger = logging.getLogger(__name__)

UNFINISHED = ".prepared.safetensors", ".scores.jsonl"
ADAPTER_SETTINGS = (
    "r lora_alpha use_rslora use_dora rank_pattern alpha_pattern target_modules modules_to_save layers_to_transform "
    "bias init_lora_weights"
).split()
TRAINING_SETTINGS = (
    "learning_rate weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm per_device_train_batch_size "
    "gradient_accumulation_steps max_length seed bf16 reference_batch_size"
).split()
UNUSED_SETTINGS = (
    "correction rho reference_slack rho_mode reference_gradient reference_replay_size reference_refresh "
    "reference_refresh_steps reference_refresh_cosine task_token_budget task_top_k task_temperature"
).split()
"""Settings of the method that do not affect an audit."""


def audit(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Dataset | TaskRows,
    references: Dataset | None = None,
    *,
    harmless: Dataset | None = None,
    risky_ids: Collection[str] = (),
    config: DualSelectConfig | None = None,
    peft_config: PeftConfig | None = None,
    score: str = "published",
    output_dir: str | Path | None = None,
    **settings: Any,
) -> tuple[Dataset, AuditSummary]:
    """Find, before training, which rows of the data would erode which safe behavior.

    The model is not changed: the warm-up steps train a temporary adapter, which is then discarded.

    Args:
        model: A model, with or without an adapter; restored afterwards.
        tokenizer: Its tokenizer.
        task: Task rows in any format that `load_rows` reads; plain text becomes a turn of a conversation.
        references: Safe responses in the same formats; None for the built-in pool of 200 refusals.
        harmless: Harmless conversations that calibrate scores; None for the built-in ones.
        risky_ids: Ids of rows labeled risky, in addition to rows of kind `risky`; the summary reports how well each
            score detects them.
        config: Settings of the planned training run; None for the defaults with `reference_contrast` compliance.
        peft_config: Config of the adapter; None for the paper's LoRA.
        score: The ranking score, one of `SCORES`.
        output_dir: Folder for the files of the audit; an interrupted audit in it is resumed. None keeps no files.
        **settings: Further fields of `AuditSettings`.

    Returns:
        One result row per data row, starting with its id, and the summary.

    Raises:
        DualSelectError: Data, settings or model cannot be used. The message says what to change.
    """
    audit_settings = AuditSettings(score=score, risky_ids=frozenset(map(str, risky_ids)), **settings)
    rows = task if isinstance(task, TaskRows) else TaskRows.of(task)
    pool = read_sources([BUILTIN], "reference_data").dataset if references is None else references
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch if output_dir is None else output_dir)
        if config is None:
            config = DualSelectConfig(str(folder), reference_contrast="compliance", report_to="none")
        summary = audit_into(
            folder, model, tokenizer, rows, pool, audit_settings, config, harmless=harmless, peft_config=peft_config
        )
        return read_rows(folder, summary.data["drawn"], quiet=config.disable_tqdm), summary


def audit_into(
    folder: Path,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: TaskRows,
    references: Dataset,
    settings: AuditSettings,
    config: DualSelectConfig,
    *,
    harmless: Dataset | None = None,
    peft_config: PeftConfig | None = None,
    overwrite: bool = False,
) -> AuditSummary:
    """Audit into a folder. Memory use does not depend on the number of rows. See `audit`.

    Args:
        folder: Receives `audit.jsonl`, `audit.csv`, `references.jsonl`, `negatives.jsonl` (if some rows are labeled
            risky) and, last, `summary.json`.
        model: See `audit`.
        tokenizer: See `audit`.
        rows: The task rows.
        references: See `audit`.
        settings: Settings of the audit.
        config: Settings of the planned training run.
        harmless: See `audit`.
        peft_config: See `audit`.
        overwrite: Delete an existing audit in the folder and restart, after all inputs are checked.

    Returns:
        The summary. If the folder contains the same audit and it is finished, its summary is returned at once.
    """
    if peft_config is not None and isinstance(model, PeftModel):
        raise ConfigError(
            "the model already has an adapter and peft_config is also given: omit peft_config, or pass the model "
            "without its adapter"
        )
    check_hardware(config)
    warn_ignored(config, IGNORED_BY_PLAIN_STEPS, "an audit")
    with folder_lock(folder):
        if not overwrite:
            outputs = (ROWS, TABLE, REFERENCES, NEGATIVES, REPORT)
            refuse_foreign(folder, outputs, marks=(SUMMARY, *UNFINISHED))
        return _audit(
            folder, model, tokenizer, rows, references, settings, config, harmless, peft_config, overwrite=overwrite
        )


def _audit(
    folder: Path,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: TaskRows,
    references: Dataset,
    settings: AuditSettings,
    config: DualSelectConfig,
    harmless: Dataset | None,
    peft_config: PeftConfig | None,
    *,
    overwrite: bool,
) -> AuditSummary:
    pool = prepare_pool(references, harmless, tokenizer, config)
    negatives = hard_negatives(pool, config.seed)
    steps = max(1, config.planned_warmup_steps())
    survey = survey_rows(
        rows,
        {
            "reference": pool.conversations,
            "harmless": pool.harmless,
            "filter": pool.filter_rows,
            "negative": negatives,
        },
        settings,
        renderer(tokenizer, config.prompt_format),
        warmup_rows=steps * config.per_device_train_batch_size * config.gradient_accumulation_steps,
        seed=config.seed,
        quiet=config.disable_tqdm,
    )
    pool = _without_overlap(pool, survey, config)
    in_data = {name for of, name in survey.overlap if of == "negative"}
    # the kinds in a sample are not known yet, so all negatives are scored
    negatives = needed_negatives(negatives, survey.other_kinds if survey.drawn is None else {}, in_data)
    tokenize = row_tokenizer(tokenizer, config)
    warmup = _warmup(survey, tokenize, config)
    if peft_config is None and not isinstance(model, PeftModel):
        peft_config = LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    plan = _plan(model, tokenizer, survey, pool, negatives, settings, config, peft_config)
    fingerprint = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]
    if (folder / SUMMARY).exists() and not overwrite:
        return _finished_before(folder, fingerprint)
    prepared_file, scores_file = (folder / name for name in UNFINISHED)
    store = ScoreStore(scores_file, survey.scored_rows)
    with adapted(model, peft_config, _padding(tokenizer), config) as engine:
        if overwrite:
            for name in (SUMMARY, ROWS, TABLE, REFERENCES, NEGATIVES, *UNFINISHED):
                (folder / name).unlink(missing_ok=True)
        if prepared_file.exists():
            logger.info("resuming the interrupted audit")
            prepared = load_prepared(prepared_file, engine.layout.device, fingerprint)
        else:
            scores_file.unlink(missing_ok=True)
            prepared = prepare(engine, pool, warmup, tokenize, settings, negatives=negatives if survey.risky else None)
            save_prepared(prepared, prepared_file, fingerprint)
        engine.set_parameters(prepared.warm)
        answers = prepared.answers if settings.with_answers else []
        measurer = RowMeasurer(engine, prepared.directions, tokenize, answers, prepared.warm, prepared.tuned)
        score_rows(rows, survey, measurer, prepared, store, settings)
    aggregates = write_rows(
        folder,
        store,
        survey.scored_rows,
        prepared,
        pool.ids,
        labelled=survey.risky > 0,
        quiet=config.disable_tqdm,
    )
    summary = _summary(rows, survey, prepared, aggregates, plan, fingerprint)
    write_json(folder / SUMMARY, summary.as_values())
    for name in UNFINISHED:
        (folder / name).unlink()
    return summary


def _without_overlap(pool: Pool, survey: Survey, config: DualSelectConfig) -> Pool:
    in_task = {name: row for (of, name), row in survey.overlap.items() if of == "reference"}
    shared = {position: (name, in_task[name]) for position, name in enumerate(pool.ids) if name in in_task}
    apart = leave_out_shared(
        shared, len(pool.ids), allow=config.allow_prompt_overlap, most=config.max_shared_references
    )
    if len(apart) < len(pool.ids):
        pool = pool.of_references(apart)
    harmless_in_data = {name for of, name in survey.overlap if of in ("harmless", "filter")}
    if harmless_in_data:
        logger.info("%d harmless conversations are also in the data: not used to calibrate", len(harmless_in_data))
    return pool.without_harmless(harmless_in_data)


def _padding(tokenizer: Any) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def _plan(
    model: Any,
    tokenizer: Any,
    survey: Survey,
    pool: Pool,
    negatives: Dataset,
    settings: AuditSettings,
    config: DualSelectConfig,
    peft_config: PeftConfig | None,
) -> dict[str, Any]:
    """All inputs that determine the result of the audit, as JSON values."""
    peft = {} if peft_config is None else peft_config.to_dict()
    adapter = {name: peft.get(name) for name in ADAPTER_SETTINGS}
    adapter = {name: sorted(value) if isinstance(value, set) else value for name, value in adapter.items()}
    return {
        "format": FORMAT,
        "audit": settings.as_values(),
        "training": {name: getattr(config, name) for name in TRAINING_SETTINGS}
        | {name: value for name, value in config.method_settings.items() if name not in UNUSED_SETTINGS},
        "adapter": adapter,
        "model": {
            "name": model.config._name_or_path,
            "fingerprint": model_fingerprint(model),
            "scaling": adapter_scaling(model),
            "tokenizer": tokenizer_fingerprint(tokenizer),
        },
        "data": survey.sha256,
        # in token order, because directions are summed in that order
        "references": rows_sha256(pool.conversations.select(pool.prepared.indices)),
        "harmless": rows_sha256(pool.harmless),
        "filter": rows_sha256(pool.filter_rows),
        "negatives": rows_sha256(negatives) if survey.risky else None,
    }


def _finished_before(folder: Path, fingerprint: str) -> AuditSummary:
    summary = AuditSummary.read(folder / SUMMARY)
    if summary.fingerprint != fingerprint:
        raise ConfigError(
            f"{folder} contains a finished audit of different data, settings or model: choose another "
            "--output_dir, or pass --overwrite to delete it and restart"
        )
    for name in UNFINISHED:  # left by an audit that was killed after its last line
        (folder / name).unlink(missing_ok=True)
    logger.info("this audit is already finished; its files are kept")
    return summary


def _warmup(survey: Survey, tokenize: RowTokenizer, config: DualSelectConfig) -> list[TokenRow]:
    warmup = [row for row in tokenize(survey.warmup) if is_supervised(row)]
    if not warmup:
        raise DataError(
            f"none of {len(survey.warmup)} sampled rows has a response token within max_length {config.max_length}: "
            "raise max_length"
        )
    return warmup


def _summary(
    rows: TaskRows,
    survey: Survey,
    prepared: Prepared,
    aggregates: Aggregates,
    plan: Mapping[str, Any],
    fingerprint: str,
) -> AuditSummary:
    overall = aggregates.all
    kept = aggregates.kept_token_share
    contrast = plan["training"]["reference_contrast"]
    return AuditSummary(
        data={
            "sources": rows.sources,
            "rows": survey.rows,
            "sha256": survey.sha256,
            "drawn": survey.scored_rows,
            "sample": survey.drawn is not None,
            "scored": overall.scored,
            "unscored": dict(aggregates.unscored),
        },
        model=plan["model"],
        settings={name: plan[name] for name in ("audit", "training", "adapter")},
        conflict=_conflict(prepared, overall.conflict, overall.scored, plan["training"]["harmless_drop_rate"]),
        recommended_budget={
            "rule": RULE,
            "reliable": prepared.contrasts_found is None or prepared.contrasts_found >= LEAST_FOUND,
            "settings": None if contrast == "none" else {"task_token_budget": "auto", "reference_contrast": contrast},
            "kept_share": kept["value"],
            "low": kept["low"] if survey.drawn is not None else None,
            "high": kept["high"] if survey.drawn is not None else None,
            "dropped_rows": overall.conflict,
            "dropped_tokens": aggregates.tokens - aggregates.kept_tokens,
            "tokens": aggregates.tokens,
        },
        all=aggregates.all_as_values(),
        kinds=aggregates.kinds_as_values(),
        categories=aggregates.categories_as_values(),
        budgets=aggregates.budgets_as_values(),
        references=_references(prepared),
        detection=aggregates.detection_as_values(prepared.negatives),
        fingerprint=fingerprint,
    )


def _conflict(prepared: Prepared, dropped: int, scored: int, rate: float) -> dict[str, Any]:
    harmless, threshold = prepared.conflict_filter.harmless, prepared.conflict_threshold
    return {
        "threshold": threshold if math.isfinite(threshold) else None,
        **share(dropped, scored),
        "harmless_rows": {kind: len(scores) for kind, scores in harmless.by_kind.items()},
        "dropped_if_left_out": harmless.dropped_if_left_out(rate),
        "contrasts_found": prepared.contrasts_found,
        "harmless_among_dropped": min(1.0, rate * scored / dropped) if dropped else None,
    }


def _references(prepared: Prepared) -> dict[str, Any]:
    by_category: dict[str, dict[str, int]] = {}
    for reference in prepared.references:
        entry = by_category.setdefault(reference["category"], {"references": 0, "selected": 0, "held_out": 0})
        entry["references"] += 1
        entry["selected"] += reference["selected"]
        entry["held_out"] += reference["held_out"]
    directed = prepared.directions.categories
    return {
        "pool": len(prepared.references),
        "selected": sum(reference["selected"] for reference in prepared.references),
        "compared": len(prepared.directions.stored),
        "without_direction": sorted(set(by_category) - set(directed)),
        # the references of a category held out entirely still form its direction, so they do not calibrate it
        "without_held_out": [
            name for name in directed if by_category[name]["held_out"] in (0, by_category[name]["references"])
        ],
        "categories": dict(sorted(by_category.items())),
    }
