"""One run of a comparison, in a process of its own.

Its peak memory is then its own, and whatever ends it ends nothing else. It ends when the process that started it
does, so that a killed comparison leaves nobody behind who writes to its files.
"""

import logging
import multiprocessing
import os
import sys
import threading
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import disable_progress_bars
from filelock import FileLock
from transformers.utils import logging as transformers_logging

from dualselect.comparison.run_plan import DONE_FILE, FAILURE_FILE, PLAN_FILE, RunPlan
from dualselect.errors import DualSelectError
from dualselect.evaluation.evaluating import evaluate
from dualselect.evaluation.generation_settings import GenerationSettings
from dualselect.files import write_json
from dualselect.judges import JudgeSettings
from dualselect.methods import METHODS, fine_tune
from dualselect.run_directory import EVALUATION


FAILED, ORPHANED = 2, 3
STANDARD_OUTPUT = 1


def main(plan: RunPlan) -> None:
    """Do a plan and end the process: with status 0 when it is done, else with the reason in failure.json."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUT)
    failure = plan.path / FAILURE_FILE
    # one that lost its parent a moment ago may still be about to end
    with FileLock(plan.path.parent / f".{plan.path.name}.lock"):
        try:
            failure.unlink(missing_ok=True)
            run(plan)
        except KeyboardInterrupt:
            sys.exit(FAILED)
        except (DualSelectError, OSError) as error:
            write_json(failure, {"error": str(error)})
            sys.exit(FAILED)
        except Exception as error:
            write_json(failure, {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})
            sys.exit(FAILED)


def run(plan: RunPlan) -> None:
    """Train what is not trained, evaluate, and say that it is done.

    Raises:
        DualSelectError: Something cannot be used.
        OSError: The folder cannot be written.
    """
    plan.check_same()
    plan.path.mkdir(parents=True, exist_ok=True)
    _quiet(plan.path)
    (plan.path / DONE_FILE).unlink(missing_ok=True)
    write_json(plan.path / PLAN_FILE, plan.training)
    if plan.training:
        _train(plan)
    if plan.evaluation:
        _evaluate(plan)
    write_json(plan.path / DONE_FILE, plan.evaluation)


def _train(plan: RunPlan) -> None:
    wanted = plan.training
    method = replace(METHODS[wanted["method"]], name=wanted["name"], **wanted["method_settings"])
    fine_tune(method, wanted["settings"], plan.folder)


def _evaluate(plan: RunPlan) -> None:
    wanted: dict[str, Any] = dict(plan.evaluation)
    name, model = wanted.pop("name"), wanted.pop("model")
    evaluate(
        model or plan.folder,
        output=plan.path / EVALUATION / f"{name}.json",
        generation=GenerationSettings(**wanted.pop("generation")),
        judge_settings=JudgeSettings(**wanted.pop("judge_settings")),
        **wanted,
    )


def _quiet(folder: Path) -> None:
    """Bars go to the terminal, everything that is told to run.log."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl")
    warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true but no accelerator")
    handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("dualselect")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(ORPHANED)
