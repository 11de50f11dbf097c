"""What the benchmarks of time and memory share: rows, trainers, and how a result is written."""

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from dualselect import DualSelectConfig, DualSelectTrainer, load_model


PACKAGES = ("dualselect", "torch", "transformers", "trl", "peft")
ATTENTION = ["q_proj", "v_proj"]
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100
PAPER_BUDGET = {"task_token_budget": 0.9, "reference_contrast": "none"}


def options_of(description: str, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="name or folder (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), help="folder of results (%(default)s)")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help="(%(default)s)")
    return parser


def random_rows(lengths: Sequence[int], *, seed: int = 0, supervised: float = 1.0, vocabulary: int = 300) -> Dataset:
    """Rows of random tokens.

    Args:
        lengths: Tokens of each row.
        seed: Of the tokens.
        supervised: Share of the tokens of a row, its last ones, that are supervised.
        vocabulary: Tokens are from 10 to below it.
    """
    return Dataset.from_list(list(_random_rows(lengths, seed, supervised, vocabulary)))


def random_rows_on_disk(lengths: Sequence[int], folder: str | Path, *, seed: int = 0) -> Dataset:
    """The same rows, written to a folder and mapped from there, so that the memory of a process leaves them out."""
    given = {"lengths": list(lengths), "seed": seed, "supervised": 1.0, "vocabulary": 300}
    return Dataset.from_generator(_random_rows, gen_kwargs=given, cache_dir=str(folder))


def _random_rows(
    lengths: Sequence[int], seed: int, supervised: float, vocabulary: int
) -> Iterator[dict[str, list[int]]]:
    chance = random.Random(seed)
    for length in lengths:
        ids = [chance.randrange(10, vocabulary) for _ in range(length)]
        prompt = round(length * (1 - supervised))
        yield {"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]}


def mixed_lengths(count: int, mean: int, longest: int, seed: int = 0) -> list[int]:
    """Lengths as in chat data: log-normal around a mean, at least 8 and at most `longest` tokens."""
    chance = np.random.default_rng(seed)
    return [int(length) for length in np.clip(chance.lognormal(np.log(mean), 0.7, count), 8, longest)]


def lora(rank: int = 16, modules: Sequence[str] = ATTENTION) -> LoraConfig:
    """A LoRA without dropout."""
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=list(modules))


def sft_trainer(
    model: Any, folder: str | Path, task: Dataset, *, adapter: LoraConfig | None = None, **changes: Any
) -> SFTTrainer:
    """A plain TRL trainer of a model by name, or of a model and its tokenizer."""
    loaded, tokenizer = load_model(model) if isinstance(model, str) else model
    args = SFTConfig(str(folder), **(common_settings() | changes))
    trainer = SFTTrainer(loaded, args, train_dataset=task, processing_class=tokenizer, peft_config=adapter or lora())
    trainer.remove_callback(PrinterCallback)
    return trainer


def dualselect_trainer(
    model: Any, folder: str | Path, task: Dataset, pool: Dataset, *, adapter: LoraConfig | None = None, **changes: Any
) -> DualSelectTrainer:
    """A DualSelect trainer with the same settings."""
    loaded, tokenizer = load_model(model) if isinstance(model, str) else model
    trainer = DualSelectTrainer(
        loaded,
        # rows of random tokens have no prompts, which a contrast and harmless rows are compared by
        DualSelectConfig(str(folder), **(common_settings() | PAPER_BUDGET | changes)),
        train_dataset=task,
        reference_dataset=pool,
        processing_class=tokenizer,
        peft_config=adapter or lora(),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def common_settings() -> dict[str, Any]:
    """Settings of both trainers."""
    return {
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-5,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available(),  # TRL's default is true everywhere, and slow on most CPUs
        "max_length": 1024,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1000,
        "seed": 0,
    }


def seconds() -> float:
    """The clock, once the device has done what was asked of it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class StepTimer(TrainerCallback):
    """Seconds of each step of a trainer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """A step begins."""
        self._begun = seconds()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step ends."""
        self.seconds.append(seconds() - self._begun)


def timed_steps(trainer: Any) -> list[float]:
    """Train, and return the seconds of each optimizer step."""
    timer = StepTimer()
    trainer.add_callback(timer)
    trainer.train()
    return timer.seconds


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent k of values ~ sizes ** k, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def write_result(options: argparse.Namespace, name: str, figures: dict[str, Any]) -> Path:
    """Write NAME.json: the figures, the options, the machine and the versions."""
    result = figures | {
        "options": {key: str(value) for key, value in vars(options).items()},
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
    }
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def machine() -> str:
    """The machine in words."""
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = f"{torch.get_num_threads()} threads"
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {threads}{device}"


def draw(path: Path, curves: dict[str, tuple[Sequence[float], dict[str, Sequence[float]]]], unit: str) -> None:
    """A picture of curves with logarithmic axes, one panel for each x axis.

    Args:
        path: Where it is written, as SVG.
        curves: For each panel, by the name of its x axis, the x values and named y values.
        unit: Name of the y axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(curves), 3.2), layout="constrained")
    for axes, (name, (x, lines)) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        for label, y in lines.items():
            axes.loglog(x, y, marker="o", label=label)
        axes.set_xlabel(name)
        axes.set_ylabel(unit)
        axes.set_xticks(list(x), [f"{value:g}" for value in x])
        values = [value for y in lines.values() for value in y]
        ticks = np.geomspace(min(values), max(values), 3)
        axes.set_yticks(ticks, [f"{tick:.2g}" for tick in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path)
