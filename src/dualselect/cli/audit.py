"""`dualselect audit`: which rows of the data would erode which safe behavior, learned before training."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from dualselect.cli.options import OptionParser, tell_repeated
from dualselect.cli.status import DONE, GATE
from dualselect.errors import ConfigError


DESCRIPTION = """\
Learn before training which rows of your data would erode which safe behavior. The model is not trained: a copy of its
adapter takes a few warm-up steps and is thrown away.

examples:
  dualselect audit --task_data my_task.jsonl --reference_data safe_answers.jsonl --output_dir audits/first
  dualselect audit --task_data my_task.jsonl --output_dir audits/first --fail_above 0.02
  dualselect audit --config runs/first/config.yaml --output_dir audits/first --cleaned my_task.clean.jsonl

Without --reference_data the pool is the built-in one: 200 refusals.

OUTPUT_DIR holds audit.jsonl and audit.csv (one line for each row, its id first), references.jsonl, summary.json and
report.html, and negatives.jsonl where some rows are known to be risky. An audit that was cut off goes on where it
stopped when the same command is typed again. JSONL and Parquet files are streamed: memory does not grow with the rows.

Every setting of dualselect train can be given too, in a --config or as --key value; an audit looks ahead to that
training. Those that matter: model_name_or_path, task_data, reference_data, output_dir, overwrite, max_length,
learning_rate, selection_warmup_steps, preservation_loss, reference_contrast (here compliance unless a config or you
say otherwise), reference_fraction, per_device_train_batch_size, reference_batch_size, seed. dualselect train --help
explains them.
"""
EPILOG = """\
scores (--score); none needs labels of your data, and a training goes by published alone:
{scores}

exit status: 0; 3 when --fail_above is exceeded or cannot be answered; 2 when something given cannot be used; 1 when
the work failed
"""
PAGE = "report.html"


def run(arguments: list[str]) -> int:
    """Audit, print the summary, say where the files are.

    Returns:
        0, or 3 when more rows are in conflict than `--fail_above` allows, or may be.
    """
    parser = _parser()
    tell_repeated(arguments, parser._actions)
    options, rest = parser.parse_known_args(arguments)

    from transformers.utils import logging as transformers_logging

    from dualselect.auditing import AuditSettings, TaskRows, audit_into
    from dualselect.auditing.cleaning import RECOMMENDED, check_cleaned, write_cleaned
    from dualselect.auditing.summary import SUMMARY
    from dualselect.auditing.text import failure_text, summary_text
    from dualselect.cli.parser import parse_train_arguments
    from dualselect.data.source_rows import mapped_sources
    from dualselect.runs.directory import ADAPTER, METRICS_LOG
    from dualselect.runs.settings import check_adapter
    from dualselect.system.lock import folder_lock

    # before the libraries are silenced, which would take the progress bars from the settings
    request = parse_train_arguments(rest, defaults={"reference_contrast": "compliance"}, options=parser.names)
    transformers_logging.set_verbosity_error()
    if request.settings is None:
        print(request.help_text)
        return 0
    settings = request.settings
    check_adapter(settings, "an audit")
    if options.fail_above is not None and not 0 <= options.fail_above <= 1:
        raise ConfigError(f"--fail_above is {options.fail_above}: it must be a share of the rows, from 0 to 1")
    if options.budget is not None and options.cleaned is None:
        raise ConfigError(
            f"--budget {options.budget} says which rows a cleaned copy keeps, and --cleaned is missing: write it too, "
            "or leave --budget out"
        )
    budget = RECOMMENDED if options.budget is None else options.budget
    asked = AuditSettings(
        score=options.score,
        all_scores=options.all_scores,
        controls=not options.no_controls,
        sample=options.sample,
        risky_ids=_ids(options.risky_ids),
    )
    columns, limit = settings.data.columns, settings.data.max_row_bytes
    rows = TaskRows(mapped_sources(settings.data.task_data, columns), max_row_bytes=limit)
    folder = Path(settings.training.output_dir or ".")
    if any((folder / name).exists() for name in (ADAPTER, METRICS_LOG)):
        raise ConfigError(
            f"{folder} is the folder of a run, whose page an audit would replace: name another --output_dir"
        )
    if options.cleaned is not None:
        finished = (folder / SUMMARY).exists() and not settings.data.overwrite
        check_cleaned(options.cleaned, rows, budget, sampled=asked.sample is not None, finished=finished)
    with folder_lock(folder):
        model, tokenizer, references, harmless, peft_config = _loaded(settings, options.harmless_data)
        summary = audit_into(
            folder,
            model,
            tokenizer,
            rows,
            references,
            asked,
            settings.training,
            harmless=harmless,
            peft_config=peft_config,
            overwrite=settings.data.overwrite,
        )
        print("\n" + summary_text(summary))
        if options.cleaned is not None:
            cleaned = write_cleaned(options.cleaned, folder, rows, budget, quiet=settings.training.disable_tqdm)
            print(
                f"\n{options.cleaned}: {cleaned.kept:,} rows kept, {cleaned.dropped:,} left out"
                + (f", {cleaned.unscored:,} of them since they could not be scored" if cleaned.unscored else "")
            )
        print(f"\nrows, references and numbers: {folder}{_page(folder, quiet=settings.training.disable_tqdm)}")
    if options.fail_above is None:
        return 0
    failure = failure_text(summary.data, summary.conflict, options.fail_above)
    if failure:
        print(failure)
    return GATE if failure else DONE


def _parser() -> OptionParser:
    from dualselect.auditing.scores import SCORES

    scores = "\n".join(f"  {name:<23} {score.about}" for name, score in SCORES.items())
    parser = OptionParser(
        prog="dualselect audit",
        usage="dualselect audit --task_data SOURCE [--reference_data SOURCE] --output_dir FOLDER [options]",
        description=DESCRIPTION,
        epilog=EPILOG.format(scores=scores),
    )
    add = parser.add_argument
    add("--score", default="published", help="what ranks the rows, see below (%(default)s)")
    add(
        "--all_scores",
        action="store_true",
        help="also compute the scores that need a further forward pass of each row, to compare all of them",
    )
    add("--risky_ids", type=Path, help="file with ids of rows known to be risky, one a line (kind risky is known too)")
    add(
        "--no_controls", action="store_true", help="with known risky rows: leave out the control that fine-tunes first"
    )
    add("--harmless_data", nargs="+", help="harmless conversations to calibrate with (built-in chat and look-alikes)")
    add("--sample", type=int, help="score a random sample of this many rows: shares become estimates with intervals")
    add(
        "--fail_above",
        type=float,
        help="end with status 3 when a larger share of the rows is in conflict; with --sample, when the 95%% interval "
        "of the share reaches above it",
    )
    add("--cleaned", type=Path, help="write a copy of the data without the rows in conflict into this .jsonl file")
    add("--budget", help="for --cleaned: auto, or the token budget whose rows are kept (auto)")
    return parser


def _ids(path: Path | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    try:
        ids = frozenset(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise ConfigError(f"--risky_ids {path} is not UTF-8 text ({error}): save it as UTF-8") from error
    if not ids:
        raise ConfigError(f"--risky_ids {path} names no id: write one on each line")
    return ids


def _loaded(settings: Any, harmless_data: list[str] | None) -> tuple[Any, Any, Any, Any, Any]:
    """Model, tokenizer, references, harmless conversations, adapter; what is quick to check comes first."""
    from trl import get_peft_config

    from dualselect.data.source_rows import mapped_sources, read_sources
    from dualselect.models.checking import check_model
    from dualselect.models.precision import quantization_of
    from dualselect.runs.model import load_run_model
    from dualselect.training.hardware import check_hardware

    check_hardware(settings.training)
    check_model(settings.model)
    limit = settings.data.max_row_bytes
    pool = mapped_sources(settings.data.reference_data, settings.data.columns) or ["builtin"]
    references = read_sources(pool, "reference_data", max_row_bytes=limit)
    harmless = read_sources(harmless_data, "harmless_data", max_row_bytes=limit) if harmless_data else None
    for line in references.notes:
        print(f"reference_data: {line}")
    model, tokenizer = load_run_model(settings)
    if quantization_of(settings.model) is None:
        model.to(settings.training.device)
    peft_config = get_peft_config(settings.model)
    return model, tokenizer, references.dataset, harmless.dataset if harmless else None, peft_config


def _page(folder: Path, *, quiet: bool) -> str:
    """Write the page where its packages are installed, and say which it is or how to get it."""
    from dualselect.cli.report import PAGE_PACKAGES

    if any(importlib.util.find_spec(name) is None for name in PAGE_PACKAGES):
        return f"\nno page: it needs packages, type {sys.executable} -m pip install 'dualselect[report]'"

    from dualselect.report.audit_page import write_audit_page

    return f"\nthe page: {write_audit_page(folder, folder / PAGE, quiet=quiet).resolve()}"
