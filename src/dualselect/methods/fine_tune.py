"""One run by any method, into a run directory."""

import functools
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from dualselect.errors import ConfigError, DualSelectError
from dualselect.methods.cost import COST_FILE, CostMeter
from dualselect.methods.dualselect import DualSelect
from dualselect.methods.method import Method
from dualselect.methods.trainer import MethodTrainer
from dualselect.runs.config_file import check_known
from dualselect.runs.directory import RunDirectory
from dualselect.runs.settings import SETTING_CLASSES, RunSettings, typed_value
from dualselect.runs.train import BuildTrainer, is_template_file, train_run


def fine_tune(method: Method, settings: Mapping[str, Any], folder: str | Path) -> Path:
    """Fine-tune by a method and leave a run directory, as `dualselect train` does, with `cost.json` beside.

    A folder with an `adapter/` is finished and left as it is; a run that was cut off there is begun anew.

    Args:
        method: The method, with its settings.
        settings: Settings of `dualselect train` by name: the data, the model, the training.
        folder: The run directory.

    Returns:
        The adapter's folder.

    Raises:
        DualSelectError: Settings, data or model cannot be used; the message says what to change.
        OSError: The run directory cannot be written.
        KeyboardInterrupt: A signal ended the run.
    """
    directory = RunDirectory(folder)
    if directory.adapter.exists():
        return directory.adapter
    resolved = run_settings(method, settings, directory.path)
    summary = train_run(
        resolved,
        method=method,
        build_trainer=builder_of(method),
        callbacks=[CostMeter(directory.path / COST_FILE)],
    )
    if summary.interrupted_by is not None:
        raise KeyboardInterrupt
    return directory.adapter


def builder_of(method: Method) -> BuildTrainer:
    """What builds the trainer of a method: `DualSelectTrainer` for DualSelect, `MethodTrainer` for every other."""
    return method.build_trainer if isinstance(method, DualSelect) else functools.partial(MethodTrainer.of, method)


def run_settings(method: Method, settings: Mapping[str, Any], folder: Path) -> RunSettings:
    """The settings of a run by a method, checked.

    Checkpoints are turned off: what a method remembers is not in them, and a run that was cut off starts anew.

    Args:
        method: The method; the differences of an ablation win over `settings`.
        settings: Settings of `dualselect train` by name.
        folder: The run directory.

    Raises:
        ConfigError: A name is no setting, or a value cannot be used or would not be followed by every method.
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
            f"{method.name}: these settings were refused by transformers or TRL: {error}; change the one named"
        ) from error
    template = training.chat_template_path
    if template is not None and not is_template_file(template):
        raise ConfigError(
            f"{method.name}: chat_template_path {template} is no file that ends in .jinja or .j2: the tokenizer of "
            "another model may bring tokens that not every method would train; write its template into such a file"
        )
    return RunSettings(data, training, model)
