"""Run any method and write a run directory."""

import functools
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import IntervalStrategy

from dualselect.errors import ConfigError, DualSelectError
from dualselect.methods.cost import COST_FILE, CostMeter
from dualselect.methods.dualselect import DualSelect
from dualselect.methods.method import Method
from dualselect.methods.trainer import MethodTrainer
from dualselect.runs.config_file import check_known
from dualselect.runs.directory import RunDirectory
from dualselect.runs.model import is_template_file
from dualselect.runs.settings import SETTING_CLASSES, RunSettings, typed_value
from dualselect.runs.train import BuildTrainer, train_run


def fine_tune(method: Method, settings: Mapping[str, Any], folder: str | Path) -> Path:
    """Fine-tune with a method and write a run directory like `dualselect train`, plus `cost.json`.

    A finished run (a folder with `adapter/`) is left unchanged; an interrupted run restarts.

    Args:
        method: The method, with its settings.
        settings: Settings of `dualselect train` by name.
        folder: The run directory.

    Returns:
        Path of the adapter.

    Raises:
        DualSelectError: Settings, data or model cannot be used.
        OSError: The run directory cannot be written.
        KeyboardInterrupt: A signal stopped the run.
    """
    directory = RunDirectory(folder)
    if directory.adapter.exists():
        return directory.adapter
    resolved = run_settings(method, settings, directory.path)
    summary = train_run(
        resolved,
        method=method,
        build_trainer=trainer_builder(method),
        callbacks=[CostMeter(directory.path / COST_FILE)],
    )
    if summary.interrupted_by is not None:
        raise KeyboardInterrupt
    return directory.adapter


def trainer_builder(method: Method) -> BuildTrainer:
    """The function that builds a method's trainer: `DualSelectTrainer` for DualSelect, else `MethodTrainer`."""
    return method.build_trainer if isinstance(method, DualSelect) else functools.partial(MethodTrainer.of, method)


def run_settings(method: Method, settings: Mapping[str, Any], folder: Path) -> RunSettings:
    """Resolve and check the settings of a run of a method.

    Checkpoints are off, because they do not contain the state of a method; interrupted runs restart.

    Args:
        method: The method; the differences of an ablation override `settings`.
        settings: Settings of `dualselect train` by name.
        folder: The run directory.

    Raises:
        ConfigError: A name is not a setting, or a value cannot be used or is not supported by every method.
    """
    differences = method.differences if isinstance(method, DualSelect) else {}
    fixed = {"output_dir": str(folder), "save_strategy": "no", "overwrite": True}
    values = {"gradient_checkpointing": torch.cuda.is_available(), **settings, **differences, **fixed}
    for name in values:
        check_known(name, method.name)
    typed = {name: typed_value(name, value, method.name) for name, value in values.items()}
    try:
        data, training, model = (
            kind(**{name: typed[name] for name in typed if name in {setting.name for setting in fields(kind)}})
            for kind in SETTING_CLASSES
        )
    except DualSelectError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{method.name}: transformers or TRL refused the settings: {error}; change the setting that it names"
        ) from error
    if data.eval_data or training.eval_strategy != IntervalStrategy.NO:
        raise ConfigError(
            f"{method.name}: eval_data and eval_strategy are followed by dualselect train alone: leave them out; "
            "what runs are measured on is in evaluation"
        )
    template = training.chat_template_path
    if template is not None and not is_template_file(template):
        raise ConfigError(
            f"{method.name}: chat_template_path {template} is not a .jinja or .j2 file: the tokenizer of another "
            "model may add tokens that not all methods train; save its template as such a file"
        )
    return RunSettings(data, training, model)
