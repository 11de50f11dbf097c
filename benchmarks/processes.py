"""Speed-up of two processes of one thread each over one process of one thread, on the same steps.

    python benchmarks/processes.py [--steps 5]

Each step has 16 rows of random tokens. Both runs are started by torchrun. The first steps, with the refresh, are not
counted. The last line is the ratio of the medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import dualselect_trainer, mixed_lengths, options_of, random_rows, timed_steps, write_result


BOUND = 1.6
ROWS, UNTIMED = 16, 4


def one_process(options: Any) -> None:
    """Train on the processes of torchrun; the first one writes the seconds of each step."""
    torch.set_num_threads(1)
    world = int(os.environ["WORLD_SIZE"])
    task = random_rows(mixed_lengths(ROWS * (options.steps + UNTIMED), options.length, 2 * options.length))
    pool = random_rows(mixed_lengths(16, options.length, 2 * options.length, seed=1), seed=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = dualselect_trainer(
            options.model,
            folder,
            task,
            pool,
            per_device_train_batch_size=ROWS // world,
            max_steps=options.steps + UNTIMED,
            selection_warmup_steps=2,
            train_sampling_strategy="sequential",
        )
        assert trainer.args.world_size == world
        taken = timed_steps(trainer)
    if int(os.environ["RANK"]) == 0:
        options.worker.write_text(json.dumps(taken[UNTIMED:]), encoding="utf-8")


def launch(options: Any, processes: int, result: Path) -> list[float]:
    """Seconds of each step of a run on so many processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    own = ["--model", options.model, "--steps", str(options.steps), "--length", str(options.length)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, __file__, *own, "--worker", str(result)], check=True, env=environment)
    return list(json.loads(result.read_text(encoding="utf-8")))


def main() -> int:
    """Measure, print and judge."""
    parser = options_of(__doc__, steps=5, length=24, repeats=1)
    parser.add_argument("--worker", type=Path, default=None, help="one process (internal)")
    options = parser.parse_args()
    if options.worker is not None:
        one_process(options)
        return 0
    times: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            for processes, found in times.items():
                found += launch(options, processes, Path(folder) / "seconds.json")
    one, two = (statistics.median(found) for found in times.values())
    write_result(options, "processes", {"seconds": times, "ratio": one / two, "bound": BOUND})
    print(f"a step of {ROWS} rows: {one:.2f} s on one process, {two:.2f} s on two, one thread each")
    print(f"speed-up of two processes: {one / two:.2f} (bound {BOUND})")
    return int(one / two < BOUND)


if __name__ == "__main__":
    sys.exit(main())
