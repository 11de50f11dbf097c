"""Create the labeled rows of real.yaml; the oracle and the selection log need to know the risky rows.

    python benchmarks/safety_utility/real_rows.py FOLDER_OF_DATA runs/safety_utility/rows

Task: 200 GSM8K problems and 50 "rejected" responses of HH-RLHF; pool: 200 "chosen" responses to other prompts and 40
built-in refusals; tests: 100 GSM8K problems and 200 HH-RLHF pairs, held out from training and tuning.
"""

import argparse
import gzip
import json
from pathlib import Path

from dualselect.data import builtin_rows, load_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of gsm8k_*.jsonl and hh_harmless_test.jsonl.gz")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    gsm8k, hh = options.data / "gsm8k_train.jsonl", options.data / "hh_harmless_test.jsonl.gz"
    kinds = {"task": f"{gsm8k}[0:200]", "risky": f"{hh}#rejected[0:50]"}
    task = [row | {"kind": kind} for kind, source in kinds.items() for row in load_rows(source).dataset]
    pool = [row | {"kind": "chosen"} for row in load_rows(f"{hh}[50:250]").dataset]
    pool += builtin_rows("refusal", 40, seed=5)
    with gzip.open(hh, "rt", encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file][1800:2000]
    problems = (options.data / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()[:100]
    written = {
        "task": task,
        "pool": pool,
        "gsm8k_test": [json.loads(line) for line in problems],
        "hh_test": pairs,
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, rows in written.items():
        path = options.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main()
