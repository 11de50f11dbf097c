"""The known name that somebody probably meant."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher


# What other programs and people call these settings.
OTHER_NAMES = {
    "m": "model_name_or_path",
    "model": "model_name_or_path",
    "model_name": "model_name_or_path",
    "model_path": "model_name_or_path",
    "base_model": "model_name_or_path",
    "pretrained": "model_name_or_path",
    "o": "output_dir",
    "out": "output_dir",
    "output": "output_dir",
    "c": "config",
    "d": "task_data",
    "data": "task_data",
    "dataset": "task_data",
    "dataset_name": "task_data",
    "train_data": "task_data",
    "train_file": "task_data",
    "train_dataset": "task_data",
    "references": "reference_data",
    "safe_data": "reference_data",
    "reference_dataset": "reference_data",
    "eval_dataset": "eval_data",
    "validation_data": "eval_data",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "steps": "max_steps",
    "bs": "per_device_train_batch_size",
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "grad_accum": "gradient_accumulation_steps",
    "accumulation": "gradient_accumulation_steps",
    "optimizer": "optim",
    "scheduler": "lr_scheduler_type",
    "warmup": "warmup_steps",
    "wd": "weight_decay",
    "rank": "lora_r",
    "r": "lora_r",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "cutoff_len": "max_length",
    "torch_dtype": "dtype",
    "precision": "dtype",
    "cpu": "use_cpu",
    "4bit": "load_in_4bit",
    "8bit": "load_in_8bit",
    "force": "overwrite",
    "budget": "task_token_budget",
}
LEAST_LIKENESS = 0.6


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a given one; None if none is near.

    A name that others use for a known one comes first, then the nearest by edit distance, to the whole of a known
    name, to its beginning, or by the words that it holds.

    Args:
        given: A word as typed, with or without dashes.
        known: Names; of equally near ones the first is taken.
    """
    names = list(known)
    plain = re.sub(r"\W+", "_", given.lstrip("-").split("=")[0].lower())
    if (other := OTHER_NAMES.get(plain)) in names:
        return other
    likeness = {name: _likeness(plain, name.lower().replace("-", "_")) for name in names}
    for other, name in OTHER_NAMES.items():  # with a slip in it
        if name in likeness and len(other) > 3:
            likeness[name] = max(likeness[name], SequenceMatcher(None, plain, other).ratio())
    best = max(likeness, key=lambda name: likeness[name], default=None)
    return best if best is not None and likeness[best] >= LEAST_LIKENESS else None


def _likeness(given: str, name: str) -> float:
    """From 0 to 1, which is the same name."""
    whole = SequenceMatcher(None, given, name).ratio()
    if len(given) < 3:
        return max(whole, 0.7 if name.startswith(given) and given else 0)
    beginning = SequenceMatcher(None, given, name[: len(given)]).ratio()
    words = set(given.split("_")) <= set(name.split("_"))
    return max(whole, 0.9 * beginning if beginning > 0.7 else 0, 0.75 if words else 0)
