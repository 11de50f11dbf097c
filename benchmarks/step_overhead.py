"""Time of a DualSelect step against a plain TRL SFT step on the same batch, alternating in one process.

    python benchmarks/step_overhead.py [--steps 12] [--gradient_checkpointing] [--all_supervised]

A step is forward, backward, selection, clipping and AdamW. The refresh of the references is not part of it. On a CPU
TRL scores prompts too, which DualSelect leaves out; `--all_supervised` leaves neither anything to skip. The last line
is the median of the paired ratios.
"""

import argparse
import statistics
import sys
import tempfile
from typing import Any

import torch
from common import dualselect_trainer, options_of, random_rows, seconds, sft_trainer, write_result
from tqdm import tqdm
from trl import SFTTrainer

from dualselect.training.preparation import ROW


BOUND = 1.05
ROWS = 64


def one_step(trainer: SFTTrainer, rows: list[dict[str, Any]]) -> float:
    """One optimizer step as in the training loop; returns its seconds."""
    start = seconds()
    batch = trainer.data_collator(rows)
    supervised = (batch["labels"][:, 1:] != -100).sum()
    trainer.training_step(trainer.model, batch, supervised)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()
    trainer.model.zero_grad()
    trainer.state.global_step += 1
    return seconds() - start


def trainers_of(options: argparse.Namespace, folder: str) -> list[Any]:
    """Both trainers, as `train` begins."""
    share = 1.0 if options.all_supervised else 0.5
    half = options.length // 2
    rows = random_rows([half + (7 * row) % (half + 1) for row in range(ROWS)], supervised=share)
    pool = random_rows([half] * 16, seed=1, supervised=share)
    settings = {
        "per_device_train_batch_size": options.batch_size,
        "gradient_checkpointing": options.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "bf16": options.bf16,
    }
    plain = sft_trainer(options.model, folder, rows, **settings)
    ours = dualselect_trainer(options.model, folder, rows, pool, selection_warmup_steps=0, **settings)
    ours._loop.warmup_steps, ours._storage = 0, "device"
    ours._examples = ours._no_examples()
    for trainer in (plain, ours):
        if options.gradient_checkpointing:
            trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
        trainer.create_optimizer()
        trainer.model.train()
    return [plain, ours]


def main() -> int:
    """Measure, print and judge."""
    parser = options_of(__doc__, steps=12, batch_size=8, length=64)
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--all_supervised", action="store_true", help="every token is supervised, not the second half")
    options = parser.parse_args()
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        trainers = trainers_of(options, folder)
        for step in tqdm(range(options.steps + 2), unit="pair"):  # two are not counted
            at = step * options.batch_size % ROWS
            pair = []
            for trainer in trainers:
                columns = [name for name in trainer.train_dataset.column_names if name in ("input_ids", "labels", ROW)]
                rows = trainer.train_dataset.select_columns(columns).select(range(at, at + options.batch_size))
                pair.append(one_step(trainer, list(rows)))
            times.append((pair[0], pair[1]))
    measured = times[2:]
    plain, ours = (statistics.median(column) for column in zip(*measured, strict=True))
    ratios = sorted(dualselect / sft for sft, dualselect in measured)
    ratio = statistics.median(ratios)
    write_result(options, "step_overhead", {"seconds": measured, "ratio": ratio, "bound": BOUND})
    print(f"{options.model}, batch {options.batch_size}, up to {options.length} tokens, {len(measured)} steps of each")
    print(f"median TRL SFT step {plain:.3f} s, median DualSelect step {ours:.3f} s")
    print(f"paired ratios: lowest {ratios[0]:.3f}, highest {ratios[-1]:.3f}")
    print(f"ratio: {ratio:.3f} (bound {BOUND})")
    return int(ratio > BOUND)


if __name__ == "__main__":
    sys.exit(main())
