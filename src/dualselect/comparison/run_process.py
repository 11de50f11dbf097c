"""One run of a comparison in its own process.

A separate process isolates peak memory and crashes. It exits with its parent, so that a killed comparison leaves no
process that writes to its files.
"""

import gc
import logging
import multiprocessing
import os
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from datasets import disable_progress_bars
from filelock import FileLock
from transformers.utils import logging as transformers_logging

from dualselect.comparison.run_plan import DONE_FILE, FAILURE_FILE, PLAN_FILE, RunPlan
from dualselect.errors import DataError, DualSelectError
from dualselect.evaluation.evaluating import evaluate
from dualselect.evaluation.generation_settings import GenerationSettings
from dualselect.evaluation.results import read_evaluation
from dualselect.judges import JudgeSettings
from dualselect.methods import METHODS, fine_tune
from dualselect.models.foreign_code import SETTING as TRUST
from dualselect.runs.config_file import RECORD_KEY
from dualselect.runs.directory import CONFIG_FILE, EVALUATION
from dualselect.system.files import write_json
from dualselect.system.libraries import ignore_library_warnings
from dualselect.system.terminal import GuardedStream
from dualselect.system.visible import visible, without_credentials


FAILED, ORPHANED = 2, 3
STANDARD_OUTPUT = 1


def main(plan: RunPlan) -> None:
    """Execute a plan and exit; on failure the reason is in failure.json and the status is not 0."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUT)
    failure = plan.path / FAILURE_FILE
    # an orphaned process of an earlier call may still be exiting
    with FileLock(plan.path.parent / f".{plan.path.name}.lock"):
        try:
            failure.unlink(missing_ok=True)
            run(plan)
        except KeyboardInterrupt:
            sys.exit(FAILED)
        except (DualSelectError, OSError) as error:
            write_json(failure, {"error": without_credentials(str(error))})
            sys.exit(FAILED)
        except Exception as error:
            facts = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            write_json(failure, {name: without_credentials(text) for name, text in facts.items()})
            sys.exit(FAILED)


def run(plan: RunPlan) -> None:
    """Train if needed, evaluate, and write done.json.

    Raises:
        DualSelectError: An input cannot be used.
        OSError: The folder cannot be written.
    """
    plan.check_same()
    plan.path.mkdir(parents=True, exist_ok=True)
    _redirect_output(plan.path)
    if not plan.is_done():
        (plan.path / DONE_FILE).unlink(missing_ok=True)
    write_json(plan.path / PLAN_FILE, plan.training)
    if plan.training:
        _train(plan)
        _free_memory()
    plan.write_done(_evaluate(plan) if plan.evaluation else 0)


def _train(plan: RunPlan) -> None:
    training = plan.training
    method = replace(METHODS[training["method"]], name=training["name"], **training["method_settings"])
    fine_tune(method, training["settings"], plan.folder)
    record = yaml.safe_load((plan.path / CONFIG_FILE).read_text(encoding="utf-8"))[RECORD_KEY]
    for role, data in record["data"].items():
        if data["rows_sha256"] != training["input_hashes"][role]:
            raise DataError(
                f"{role} changed after the comparison started, so that this run used other rows than the others: "
                f"delete {plan.path} and repeat the command with the final rows"
            )


def _free_memory() -> None:
    """Free the trained model, which has reference cycles, before another one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _evaluate(plan: RunPlan) -> int:
    """Evaluate; returns the number of missing verdicts that a retry may get."""
    options: dict[str, Any] = dict(plan.evaluation)
    name, model = options.pop("name"), options.pop("model")
    del options["input_hashes"]
    path = evaluate(
        model or plan.folder,
        output=plan.path / EVALUATION / f"{name}.json",
        generation=GenerationSettings(**options.pop("generation")),
        judge_settings=JudgeSettings(**options.pop("judge_settings")),
        # the user's own file of the comparison says so, not the config.yaml of the run
        trust_remote_code=bool((plan.training.get("settings") or options["model_settings"]).get(TRUST)),
        **options,
    )
    return read_evaluation(path).still_unscored


def _redirect_output(folder: Path) -> None:
    """Show only progress bars in the terminal; log to run.log."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    ignore_library_warnings()
    sys.stderr = GuardedStream(sys.stderr, bars=True)  # type: ignore[assignment]
    handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("dualselect")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(visible(super().format(record)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(ORPHANED)
