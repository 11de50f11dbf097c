"""Compare methods at every share of risky rows, and print whether DualSelect keeps its promise.

    python benchmarks/safety_utility/shares.py FOLDER_OF_DATA runs/safety_utility/shares --model START
    python benchmarks/safety_utility/shares.py FOLDER_OF_DATA runs/safety_utility/shares --verdict_only

The rows are those of `mixes.py`, the settings those of `shares.yaml`. Each seed draws other rows, so that intervals
contain the variation between data sets. Seeds are done one after the other, each at all shares; the same command
continues. A share of 0 has no oracle, which is plain fine-tuning there.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from verdict import print_verdict


HERE = Path(__file__).parent
SUITES = {"harmful": "strongreject", "harmless": "xstest_safe"}
TASKS = ("gsm8k", "sql", "openbookqa")
"""Measured on a third of the prompts each."""


def settings_of(folder: Path, model: str, share: int, seed: int, limit: int) -> dict[str, Any]:
    """The comparison of one share and seed."""
    settings: dict[str, Any] = yaml.safe_load((HERE / "shares.yaml").read_text(encoding="utf-8"))
    rows = folder / f"rows-{seed}"
    suites = [f"{purpose}:{rows}/{name}.jsonl" for purpose, name in SUITES.items()]
    suites += [f"task:{rows}/{name}.jsonl[0:{-(-limit // len(TASKS))}]" for name in TASKS]
    methods = {name: it for name, it in settings["methods"].items() if share or name != "oracle"}
    return settings | {
        "output_dir": str(comparison(folder, share, seed)),
        "model_name_or_path": model,
        "task_data": [f"{rows}/mix_{share:02}.jsonl"],
        "reference_data": [f"{rows}/pool.jsonl"],
        "seeds": [seed],
        "methods": methods,
        "evaluation": settings["evaluation"] | {"suites": suites, "limit": limit},
    }


def comparison(folder: Path, share: int, seed: int) -> Path:
    """The folder of one comparison."""
    return folder / f"share-{share:02}-seed-{seed}"


def run(folder: Path, model: str, share: int, seed: int, limit: int) -> None:
    """Run what is not done of one comparison; the start model is measured once."""
    settings = settings_of(folder, model, share, seed, limit)
    target = Path(settings["output_dir"])
    measured = next(iter(sorted(folder.glob("share-*/runs/start/done.json"))), None)
    if measured is not None and not (target / "runs" / "start").exists():
        shutil.copytree(measured.parent, target / "runs" / "start")
    config = target.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    subprocess.run([Path(sys.executable).with_name("dualselect"), "compare", "--config", config], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="see mixes.py")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="runs/safety_utility/start", help="the aligned start model (%(default)s)")
    parser.add_argument("--shares", type=int, nargs="+", default=[0, 5, 15, 30, 50], help="percent (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(%(default)s)")
    parser.add_argument("--rows", type=int, default=160, help="rows of a mix (%(default)s)")
    parser.add_argument("--longest", type=int, default=500, help="most characters of a row (%(default)s)")
    parser.add_argument("--pool_side", type=int, default=32, help="references of each side of the pool (%(default)s)")
    parser.add_argument("--limit", type=int, default=40, help="prompts of a suite (%(default)s)")
    parser.add_argument("--verdict_only", action="store_true", help="print the results that there are")
    options = parser.parse_args()
    for seed in () if options.verdict_only else options.seeds:
        rows = options.folder / f"rows-{seed}"
        if not rows.exists():
            making = [sys.executable, HERE / "mixes.py", options.data, rows, "--seed", str(seed)]
            making += ["--rows", str(options.rows), "--longest", str(options.longest)]
            subprocess.run([*making, "--pool_side", str(options.pool_side)], check=True)
        for share in options.shares:
            run(options.folder, options.model, share, seed, options.limit)
    print_verdict(options.folder)


if __name__ == "__main__":
    main()
