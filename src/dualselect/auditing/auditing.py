"""One audit: the data surveyed, the pool's bearings taken, every row scored, and what was found written down.

A folder holds everything. While the audit is under way it also holds what it goes on from when it is cut off.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig, PeftConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualselect.auditing.counting import Counts, share
from dualselect.auditing.engine import TokenRow, adapted
from dualselect.auditing.finishing import NEGATIVES, REFERENCES, ROWS, TABLE, read_rows, write_rows
from dualselect.auditing.measuring import Measuring, RowTokenizer, is_supervised, row_tokenizer
from dualselect.auditing.negatives import hard_negatives, needed_negatives
from dualselect.auditing.pool import Pool, prepare_pool
from dualselect.auditing.preparing import Prepared, load_prepared, prepare, save_prepared
from dualselect.auditing.rows import TaskRows
from dualselect.auditing.scoring import score_rows
from dualselect.auditing.settings import AuditSettings
from dualselect.auditing.store import ScoreStore
from dualselect.auditing.summary import FORMAT, RULE, SUMMARY, AuditSummary
from dualselect.auditing.survey import Survey, survey_rows
from dualselect.data.checks import leave_out_shared
from dualselect.data.rendering import renderer
from dualselect.data.source_rows import BUILTIN, read_sources
from dualselect.errors import ConfigError, DataError
from dualselect.runs.directory import REPORT
from dualselect.runs.record import adapter_scaling, model_fingerprint, rows_sha256, tokenizer_fingerprint
from dualselect.system.files import refuse_foreign, write_json
from dualselect.system.lock import folder_lock
from dualselect.training.config import DualSelectConfig
from dualselect.training.ignored_settings import OF_PLAIN_STEPS, tell_not_followed


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
NOT_READ = (
    "correction rho rho_mode reference_gradient reference_replay_size reference_refresh reference_refresh_steps "
    "reference_refresh_cosine task_token_budget task_top_k task_temperature"
).split()
"""Settings of the method that an audit does not read: it is the same with others of these."""


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
    """Learn before training which rows of some data would erode which safe behavior.

    The model is not trained: an adapter takes the warm-up steps and is thrown away.

    Args:
        model: A model, or one with an adapter; afterwards it is what it was.
        tokenizer: Its tokenizer.
        task: Task rows in any known format, read as `load_rows` reads them: plain text is a turn of a conversation.
        references: Safe responses, in the same formats; None for the built-in ones, 200 refusals.
        harmless: Harmless conversations, to calibrate scores with; None for built-in ones.
        risky_ids: Ids of rows that are known to be risky, beside those of kind `risky`: how well scores find them is
            told.
        config: Settings of the training that the audit looks ahead to; the default with `reference_contrast`
            compliance when left out.
        peft_config: Of the adapter; the paper's LoRA when left out.
        score: The score that ranks the rows, one of `SCORES`.
        output_dir: Keep the files of the audit there, and go on where one that was cut off stopped.
        **settings: More of `AuditSettings`.

    Returns:
        A row for each row of the data, its id first, and the summary.

    Raises:
        DualSelectError: Data, settings or model cannot be used; the message says what to change.
    """
    asked = AuditSettings(score=score, risky_ids=frozenset(map(str, risky_ids)), **settings)
    rows = task if isinstance(task, TaskRows) else TaskRows.of(task)
    pool = read_sources([BUILTIN], "reference_data").dataset if references is None else references
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch if output_dir is None else output_dir)
        if config is None:
            config = DualSelectConfig(str(folder), reference_contrast="compliance", report_to="none")
        summary = audit_into(
            folder, model, tokenizer, rows, pool, asked, config, harmless=harmless, peft_config=peft_config
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
    """Audit into a folder, in memory that does not grow with the rows; see `audit`.

    Args:
        folder: Where `audit.jsonl`, `audit.csv`, `references.jsonl`, `negatives.jsonl` (where some rows are known to
            be risky) and `summary.json` go, the last one last.
        model: As for `audit`.
        tokenizer: As for `audit`.
        rows: The data.
        references: As for `audit`.
        settings: What is asked for.
        config: Settings of the training.
        harmless: As for `audit`.
        peft_config: As for `audit`.
        overwrite: Start anew where the folder holds an audit, which is deleted when all that was given was checked.

    Returns:
        The summary; that of a finished audit at once, when it is the same.
    """
    if peft_config is not None and isinstance(model, PeftModel):
        raise ConfigError(
            "the model has an adapter, which an audit works with, and a peft_config is given too: leave peft_config "
            "out, or pass the model without its adapter"
        )
    tell_not_followed(config, OF_PLAIN_STEPS, "an audit")
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
        {"reference": pool.conversations, "harmless": pool.harmless, "negative": negatives},
        settings,
        renderer(tokenizer, config.prompt_format),
        warmup_rows=steps * config.per_device_train_batch_size * config.gradient_accumulation_steps,
        seed=config.seed,
        quiet=config.disable_tqdm,
    )
    pool = _without_overlap(pool, survey, config)
    in_data = {name for of, name in survey.overlap if of == "negative"}
    # which kinds a sample holds is not known yet
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
            logger.info("going on with the audit that was cut off")
            prepared = load_prepared(prepared_file, engine.layout.device, fingerprint)
        else:
            scores_file.unlink(missing_ok=True)
            prepared = prepare(engine, pool, warmup, tokenize, settings, negatives=negatives if survey.risky else None)
            save_prepared(prepared, prepared_file, fingerprint)
        engine.set_parameters(prepared.warm)
        answers = prepared.answers if settings.with_answers else []
        measuring = Measuring(engine, prepared.bearings, tokenize, answers, prepared.warm, prepared.tuned)
        score_rows(rows, survey, measuring, prepared, store, settings)
    counts = write_rows(
        folder,
        store,
        survey.scored_rows,
        prepared,
        pool.ids,
        labelled=survey.risky > 0,
        quiet=config.disable_tqdm,
    )
    summary = _summary(rows, survey, prepared, counts, plan, fingerprint)
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
    calm = {name for of, name in survey.overlap if of == "harmless"}
    if calm:
        logger.info("%d harmless conversations stand in the data too and are left out of the calibration", len(calm))
    return pool.without_harmless(calm)


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
    """Everything that decides what the audit finds, as JSON values."""
    given = {} if peft_config is None else peft_config.to_dict()
    adapter = {name: given.get(name) for name in ADAPTER_SETTINGS}
    adapter = {name: sorted(value) if isinstance(value, set) else value for name, value in adapter.items()}
    return {
        "format": FORMAT,
        "audit": settings.as_values(),
        "training": {name: getattr(config, name) for name in TRAINING_SETTINGS}
        | {name: value for name, value in config.method_settings.items() if name not in NOT_READ},
        "adapter": adapter,
        "model": {
            "name": model.config._name_or_path,
            "fingerprint": model_fingerprint(model),
            "scaling": adapter_scaling(model),
            "tokenizer": tokenizer_fingerprint(tokenizer),
        },
        "data": survey.sha256,
        # in the order of their tokens, which directions are summed in
        "references": rows_sha256(pool.conversations.select(pool.prepared.indices)),
        "harmless": rows_sha256(pool.harmless),
        "negatives": rows_sha256(negatives) if survey.risky else None,
    }


def _finished_before(folder: Path, fingerprint: str) -> AuditSummary:
    summary = AuditSummary.read(folder / SUMMARY)
    if summary.fingerprint != fingerprint:
        raise ConfigError(
            f"{folder} holds a finished audit of other data, settings, or another model: name another --output_dir, "
            "or write --overwrite to delete it and start anew"
        )
    for name in UNFINISHED:  # of an audit that was killed after its last line
        (folder / name).unlink(missing_ok=True)
    logger.info("this audit was finished before, its files are kept")
    return summary


def _warmup(survey: Survey, tokenize: RowTokenizer, config: DualSelectConfig) -> list[TokenRow]:
    warmup = [row for row in tokenize(survey.warmup) if is_supervised(row)]
    if not warmup:
        raise DataError(
            f"none of {len(survey.warmup)} rows has a response token within max_length {config.max_length}: raise it"
        )
    return warmup


def _summary(
    rows: TaskRows,
    survey: Survey,
    prepared: Prepared,
    counts: Counts,
    plan: Mapping[str, Any],
    fingerprint: str,
) -> AuditSummary:
    found = counts.all
    kept = counts.kept_token_share
    contrast = plan["training"]["reference_contrast"]
    return AuditSummary(
        data={
            "sources": rows.sources,
            "rows": survey.rows,
            "sha256": survey.sha256,
            "drawn": survey.scored_rows,
            "sample": survey.drawn is not None,
            "scored": found.scored,
            "unscored": dict(counts.unscored),
        },
        model=plan["model"],
        settings={name: plan[name] for name in ("audit", "training", "adapter")},
        conflict={"threshold": prepared.conflict_threshold, **share(found.conflict, found.scored)},
        recommended_budget={
            "rule": RULE,
            "settings": None if contrast == "none" else {"task_token_budget": "auto", "reference_contrast": contrast},
            "kept_share": kept["value"],
            "low": kept["low"] if survey.drawn is not None else None,
            "high": kept["high"] if survey.drawn is not None else None,
            "dropped_rows": found.conflict,
            "dropped_tokens": counts.tokens - counts.kept_tokens,
            "tokens": counts.tokens,
        },
        all=counts.all_as_values(),
        kinds=counts.kinds_as_values(),
        categories=counts.categories_as_values(),
        budgets=counts.budgets_as_values(),
        references=_references(prepared),
        detection=counts.detection_as_values(prepared.negatives),
        fingerprint=fingerprint,
    )


def _references(prepared: Prepared) -> dict[str, Any]:
    by_category: dict[str, dict[str, int]] = {}
    for reference in prepared.references:
        entry = by_category.setdefault(reference["category"], {"references": 0, "selected": 0, "held_out": 0})
        entry["references"] += 1
        entry["selected"] += reference["selected"]
        entry["held_out"] += reference["held_out"]
    directed = prepared.bearings.categories
    return {
        "pool": len(prepared.references),
        "selected": sum(reference["selected"] for reference in prepared.references),
        "compared": len(prepared.bearings.kept),
        "without_direction": sorted(set(by_category) - set(directed)),
        # one that is held out whole makes its direction all the same, and says nothing of its own about it
        "without_held_out": [
            name for name in directed if by_category[name]["held_out"] in (0, by_category[name]["references"])
        ],
        "categories": dict(sorted(by_category.items())),
    }
