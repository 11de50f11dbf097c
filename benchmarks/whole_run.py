"""Whole runs: DualSelect at its defaults against its floor, and against plain TRL SFT on the same rows.

    python benchmarks/whole_run.py [--rows 64] [--pool 16] [--epochs 1]

The floor is the time of one forward and backward pass of every row that the method has to look at (task rows,
references at the start and at each refresh, contrasts, rows that calibrate a threshold), in the batches of the run
itself, with the optimizer steps, and nothing else. A pass without gradients counts as a forward pass. Every token is
supervised. Runs alternate, each after a pass that is not timed; the last line is whole run / floor, by medians.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import dualselect_trainer, mixed_lengths, options_of, random_rows, seconds, sft_trainer, write_result

from dualselect.models.losses import response_cross_entropy
from dualselect.training import references


BOUND = 1.05


class Recorder:
    """Keeps the batches that a trainer runs, and whether they need gradients."""

    def __init__(self, trainer: Any) -> None:
        self.batches: list[tuple[dict[str, Any], bool]] = []
        run = trainer._run_gradients

        def recorded(model: Any, inputs: Any, losses: Any, sinks: Any) -> Any:
            self.batches.append((dict(inputs), True))
            return run(model, inputs, losses, sinks)

        trainer._run_gradients = trainer.pool._run = recorded
        self._no_gradients = references.response_cross_entropy

    def __enter__(self) -> "Recorder":
        def forward_only(model: Any, inputs: Any) -> Any:
            if not torch.is_grad_enabled():
                self.batches.append((dict(inputs), False))
            return self._no_gradients(model, inputs)

        references.response_cross_entropy = forward_only  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        references.response_cross_entropy = self._no_gradients


def floor_seconds(trainer: Any, batches: list[tuple[dict[str, Any], bool]], steps: int) -> float:
    """Seconds of the passes over these batches and of `steps` optimizer steps."""
    model = trainer.model
    trainer.create_optimizer()
    model.train()
    begun = seconds()
    for inputs, gradients in batches:
        with torch.set_grad_enabled(gradients):
            losses = response_cross_entropy(model, inputs)
            if gradients:
                losses.mean().backward()
    for _ in range(steps):
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        trainer.optimizer.step()
    return seconds() - begun


def warm_up(trainer: Any) -> None:
    """One pass that is not timed: the first one of a process and a model takes longer, whatever is trained."""
    rows = trainer.train_dataset.select_columns(["input_ids", "labels"]).select(range(8))
    batch = trainer.data_collator(list(rows))
    inputs = {name: value.to(trainer.args.device) for name, value in batch.items()}
    trainer.model.to(trainer.args.device).train()
    response_cross_entropy(trainer.model, inputs).mean().backward()
    trainer.model.zero_grad()


def main() -> int:
    """Measure, print and judge."""
    parser = options_of(__doc__, rows=64, pool=16, epochs=1, length=24, repeats=2)
    options = parser.parse_args()
    task = random_rows(mixed_lengths(options.rows, options.length, 3 * options.length), seed=0)
    pool = random_rows(mixed_lengths(options.pool, options.length, 3 * options.length, seed=1), seed=1)
    times: dict[str, list[float]] = {"sft": [], "dualselect": [], "floor": []}
    counted: dict[str, int] = {}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            plain = sft_trainer(options.model, folder, task, num_train_epochs=options.epochs)
            warm_up(plain)
            begun = seconds()
            plain.train()
            times["sft"].append(seconds() - begun)
        with tempfile.TemporaryDirectory() as folder:
            ours = dualselect_trainer(options.model, Path(folder), task, pool, num_train_epochs=options.epochs)
            warm_up(ours)
            with Recorder(ours) as recorder:
                begun = seconds()
                ours.train()
                times["dualselect"].append(seconds() - begun)
            times["floor"].append(floor_seconds(ours, recorder.batches, ours.state.max_steps))
        counted = {
            "forward_backward_rows": sum(len(inputs["input_ids"]) for inputs, both in recorder.batches if both),
            "forward_rows": sum(len(inputs["input_ids"]) for inputs, both in recorder.batches if not both),
            "steps": ours.state.max_steps,
        }
    medians = {name: statistics.median(found) for name, found in times.items()}
    ratio, plain_ratio = medians["dualselect"] / medians["floor"], medians["dualselect"] / medians["sft"]
    write_result(
        options,
        "whole_run",
        {"seconds": times, "counted": counted, "against_sft": plain_ratio, "ratio": ratio, "bound": BOUND},
    )
    print(
        f"{counted['steps']} steps of 8 rows and {options.pool} references: {counted['forward_backward_rows']} rows "
        f"forward and backward, {counted['forward_rows']} forward only"
    )
    print(", ".join(f"{name} {value:.1f} s" for name, value in medians.items()))
    print(f"whole run / plain TRL SFT: {plain_ratio:.3f}")
    print(f"whole run / floor: {ratio:.3f} (bound {BOUND})")
    return int(ratio > BOUND)


if __name__ == "__main__":
    sys.exit(main())
