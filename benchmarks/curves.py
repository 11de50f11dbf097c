"""Time over the size of the pool, the length of rows, the LoRA rank and the rows per step, with fitted slopes.

    python benchmarks/curves.py

Each point is a short run of its own on random rows, every token supervised: the refresh of a pool, and a step of
DualSelect beside a step of plain TRL SFT on the same rows. A slope is the exponent k in time ~ size ** k. Writes
curves.json and curves.svg; the last line is the largest ratio of a step to a step of TRL SFT.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from common import (
    ALL_LINEAR,
    draw,
    dualselect_trainer,
    lora,
    options_of,
    random_rows,
    seconds,
    sft_trainer,
    slope,
    timed_steps,
    write_result,
)


UNTIMED = 3


def steps_of(options: Any, *, length: int = 32, rank: int = 16, rows: int = 8) -> dict[str, float]:
    """Median seconds of a step of both trainers, on rows of one length."""
    count = UNTIMED + options.steps
    task, pool = random_rows([length] * (rows * count)), random_rows([length] * 4, seed=1)
    settings = {
        "max_steps": count,
        "per_device_train_batch_size": rows,
        "adapter": lora(rank, ALL_LINEAR),
    }
    found = {}
    for name in ("TRL SFT", "DualSelect"):
        with tempfile.TemporaryDirectory() as folder:
            if name == "TRL SFT":
                trainer: Any = sft_trainer(options.model, folder, task, **settings)
            else:
                trainer = dualselect_trainer(options.model, folder, task, pool, selection_warmup_steps=1, **settings)
            found[name] = statistics.median(timed_steps(trainer)[UNTIMED:])
    return found


def refresh_of(options: Any, size: int) -> float:
    """Seconds of the second refresh of a pool of this size; the first one may have to warm up."""
    task, pool = random_rows([32] * 64), random_rows([32] * size, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = dualselect_trainer(
            options.model,
            folder,
            task,
            pool,
            max_steps=3,
            selection_warmup_steps=1,
            reference_refresh="steps",
            reference_refresh_steps=1,
        )
        taken: list[float] = []
        refresh = trainer._refresh

        def timed(model: Any) -> None:
            begun = seconds()
            refresh(model)
            taken.append(seconds() - begun)

        trainer._refresh = timed  # type: ignore[method-assign]
        trainer.train()
    return taken[-1]


def main() -> int:
    """Measure, print and draw."""
    parser = options_of(__doc__, steps=3)
    parser.add_argument("--points", type=int, default=3, choices=(2, 3, 4), help="points of each curve (%(default)s)")
    options = parser.parse_args()
    axes: dict[str, Sequence[int]] = {
        "length": (32, 64, 128, 256),
        "rank": (4, 32, 128, 256),
        "rows": (2, 4, 8, 16),
    }
    figures: dict[str, Any] = {}
    pictures: dict[str, Any] = {}
    pools = (8, 16, 32, 64)[: options.points]
    refreshes = [refresh_of(options, size) for size in pools]
    figures["pool"] = {"sizes": pools, "seconds": refreshes, "slope": slope(pools, refreshes)}
    pictures["references in the pool"] = (pools, {"refresh": refreshes})
    print(f"refresh over the pool: slope {figures['pool']['slope']:.2f}")
    names = {"length": "tokens of a row", "rank": "LoRA rank", "rows": "rows per step"}
    ratios = []
    for axis, values in axes.items():
        sizes = values[: options.points]
        found = [steps_of(options, **{axis: size}) for size in sizes]
        lines = {name: [point[name] for point in found] for name in found[0]}
        slopes = {name: slope(sizes, line) for name, line in lines.items()}
        both = [point["DualSelect"] / point["TRL SFT"] for point in found]
        ratios += both
        figures[axis] = {"sizes": sizes, "seconds": lines, "slopes": slopes, "ratios": both}
        pictures[names[axis]] = (sizes, lines)
        told = ", ".join(f"{name} {value:.2f}" for name, value in slopes.items())
        print(f"step over {names[axis]}: slopes {told}; ratios {', '.join(f'{ratio:.2f}' for ratio in both)}")
    figures["ratio"] = max(ratios)
    draw(write_result(options, "curves", figures).with_suffix(".svg"), pictures, "seconds")
    print(f"largest ratio of a step to a step of TRL SFT: {figures['ratio']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
