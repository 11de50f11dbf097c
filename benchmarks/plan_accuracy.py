"""Minutes and peak memory predicted by `dualselect plan`, against the run that follows.

The settings are those of --config; max_steps is chosen so that the run takes about --minutes. The plan and the run are
processes of their own, begun with the same command line. The last line is the predicted duration over the measured
one. Exit status 1 when it is off by more than a quarter.

Example:
  python benchmarks/plan_accuracy.py --config examples/smollm2_cpu.yaml --minutes 5 --output result.json
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path


BOUND = 0.25
FEWEST_STEPS = 10
PROGRAM = [sys.executable, "-m", "dualselect.cli.main"]
PACKAGES = ("dualselect", "torch", "transformers", "trl", "peft")


def planned(settings: list[str], folder: Path) -> dict[str, float]:
    """What a process of `dualselect plan` predicts."""
    result = folder / "plan.json"
    subprocess.run([*PROGRAM, "plan", *settings, "--json", str(result)], check=True)
    content: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return content


def run(settings: list[str]) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a process of `dualselect train`."""
    begun = time.perf_counter()
    process = subprocess.Popen([*PROGRAM, "train", *settings])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the run failed with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> int:
    """Plan, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="examples/smollm2_cpu.yaml")
    parser.add_argument("--minutes", type=float, default=5.0, help="about how long the run takes (%(default)g)")
    parser.add_argument("--output", type=Path, help="also write the numbers into this JSON file")
    arguments, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = ["--config", arguments.config, *more, "--output_dir", str(folder / "run")]
        first = planned(settings, folder)
        fixed = first["total_seconds"] - first["steps_seconds"]
        steps = max(FEWEST_STEPS, math.floor((60 * arguments.minutes - fixed) / first["step_seconds"]))
        settings += ["--max_steps", str(steps)]
        plan = planned(settings, folder)
        seconds, memory = run(settings)
    ratio = plan["total_seconds"] / seconds
    result = {
        "config": Path(arguments.config).name,
        "steps": steps,
        "planned": plan,
        "measured_seconds": seconds,
        "measured_peak_memory": memory,
        "ratio": ratio,
        "memory_ratio": plan["peak_memory"] / memory,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{steps} steps; predicted {plan['total_seconds']:.0f} s, measured {seconds:.0f} s")
    print(f"peak memory: predicted {plan['peak_memory'] / 1e9:.2f} GB, measured {memory / 1e9:.2f} GB "
          f"({result['memory_ratio']:.2f}; on a GPU these are memories of two kinds)")  # fmt: skip
    print(f"predicted / measured duration: {ratio:.2f} (within {BOUND:.0%} of 1)")
    return int(not 1 - BOUND <= ratio <= 1 + BOUND)


if __name__ == "__main__":
    sys.exit(main())
