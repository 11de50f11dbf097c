"""Write the rows of the benchmark: training mixes by their share of risky rows, the pool, and the prompts.

    python benchmarks/safety_utility/mixes.py FOLDER_OF_DATA runs/safety_utility/mixes
    python benchmarks/safety_utility/mixes.py FOLDER_OF_DATA runs/safety_utility/small_mixes --rows 160 --longest 500

FOLDER_OF_DATA holds gsm8k_train.jsonl, gsm8k_test.jsonl, hh_harmless_test.jsonl.gz, `instruct/` (sql_generation,
openbookqa_train, openbookqa_test, selfinstruct_seed_tasks) and `safety/` (advbench_first_half, beavertails_pairs,
benign_but_breaking_alpaca_top100, strongreject, harmbench_text_val, xstest_prompts).

No row is used twice: what trains, what calibrates, what chooses settings and what measures are apart. A mix has, of
its rows that are not risky, 40% GSM8K, 15% SQL, 15% OpenBookQA, 10% ordinary instructions, and 20% hard negatives
(safe answers to sensitive requests of BeaverTails, "chosen" answers of HH-RLHF). Half of the risky rows are requests
of AdvBench with a worded compliance, half are unsafe answers of BeaverTails. `breaking.jsonl` has rows that are
harmless to read and that a published study found to break safety; they count as neither.
"""

import argparse
import csv
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dualselect import load_rows
from dualselect.data import builtin_rows
from dualselect.data.builtin.compliances import compliance


SHARES = (0.0, 0.05, 0.15, 0.3, 0.5)
HARMLESS = {"gsm8k": 0.40, "sql": 0.15, "openbookqa": 0.15, "instruction": 0.10, "sensitive": 0.10, "chat": 0.10}
"""What the rows that are not risky are made of."""
TASKS = ("gsm8k", "sql", "openbookqa", "instruction")

Row = dict[str, Any]


def row(prompt: Any, completion: Any, kind: str, category: str) -> Row:
    """A row of one turn."""
    turns = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    answer = completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]
    return {"prompt": turns, "completion": answer, "kind": kind, "category": category}


def lines(path: Path) -> list[Row]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def loaded(source: str, kind: str, category: str) -> Iterator[Row]:
    """The rows of a source, labelled."""
    for one in load_rows(source).dataset:
        yield row(one["prompt"], one["completion"], kind, category)


class Sources:
    """All rows that a mix may draw from, shuffled by a seed; `longest` leaves long rows out."""

    def __init__(self, data: Path, seed: int, longest: int | None) -> None:
        instruct, safety = data / "instruct", data / "safety"
        pairs = lines(safety / "beavertails_pairs.jsonl")[500:]
        requests = [one["prompt"] for one in lines(safety / "advbench_first_half.jsonl")]
        chance = random.Random(seed)
        worded = [compliance(ask[0].lower() + ask[1:].rstrip("."), random.Random(ask)) for ask in requests]
        self.rows: dict[str, list[Row]] = {
            "gsm8k": list(loaded(f"{data}/gsm8k_train.jsonl[0:3000]", "task", "gsm8k")),
            "sql": list(loaded(f"{instruct}/sql_generation.jsonl[0:800]", "task", "sql")),
            "openbookqa": [
                row(one["prompt"], one["answer"], "task", "openbookqa")
                for one in lines(instruct / "openbookqa_train.jsonl")
            ],
            "instruction": list(loaded(f"{instruct}/selfinstruct_seed_tasks.jsonl[100:]", "task", "instruction")),
            "sensitive": [row(one["prompt"], one["chosen"], "safe", "sensitive") for one in pairs[:250]],
            "chat": list(loaded(f"{data}/hh_harmless_test.jsonl.gz[850:1700]", "safe", "chat")),
            "worded": [row(ask, text, "risky", "worded") for ask, text in zip(requests, worded, strict=True)],
            "unsafe": [row(one["prompt"], one["rejected"], "risky", "unsafe") for one in pairs[250:]],
        }
        for name, rows in self.rows.items():
            chance.shuffle(rows)
            short = [one for one in rows if longest is None or characters(one) <= longest]
            self.rows[name] = [one | {"id": f"{name}-{number}"} for number, one in enumerate(short)]

    def take(self, wanted: dict[str, int]) -> list[Row]:
        """The first rows of each kind; repeated where there are fewer."""
        return [
            one | ({"id": f"{one['id']}-{number // len(rows)}"} if number >= len(rows) else {})
            for name, count in wanted.items()
            for rows in [self.rows[name]]
            for number, one in ((number, rows[number % len(rows)]) for number in range(count))
        ]


def characters(one: Row) -> int:
    """Length of a row."""
    return sum(len(turn["content"]) for turn in (*one["prompt"], *one["completion"]))


def mix(sources: Sources, rows: int, share: float, seed: int) -> list[Row]:
    """Training rows of which a share is risky."""
    risky = round(share * rows)
    counts = {name: round(part * (rows - risky)) for name, part in HARMLESS.items()}
    counts["gsm8k"] += rows - risky - sum(counts.values())
    taken = sources.take(counts | {"worded": risky - risky // 2, "unsafe": risky // 2})
    random.Random(seed).shuffle(taken)
    return taken


def pool(side: int) -> list[Row]:
    """Built-in refusals and helpful answers to look-alikes, the same for every method."""
    return builtin_rows("refusal", side, seed=3) + builtin_rows("lookalike", side, seed=3)


def prompts(data: Path) -> dict[str, list[Row]]:
    """Prompts to measure on, and others to choose settings on."""
    safety, instruct = data / "safety", data / "instruct"
    xstest = [one for one in table(safety / "xstest_prompts.csv") if one["label"] == "safe"]
    even, odd = ([{"prompt": one["prompt"]} for one in xstest if int(one["id"]) % 2 == rest] for rest in (0, 1))
    sql = [one | {"answer": one["output"]} for one in lines(instruct / "sql_generation.jsonl")[800:]]
    found = {
        "strongreject": [{"prompt": one["forbidden_prompt"]} for one in table(safety / "strongreject.csv")],
        "xstest_safe": even,
        "gsm8k": lines(data / "gsm8k_test.jsonl"),
        "openbookqa": [one | {"completion": one["answer"]} for one in lines(instruct / "openbookqa_test.jsonl")],
        "sql": sql,
        "validation_harmful": [
            {"prompt": one.get("prompt") or one["Behavior"]} for one in table(safety / "harmbench_text_val.csv")
        ],
        "validation_harmless": odd,
        "validation_gsm8k": lines(data / "gsm8k_train.jsonl")[-200:],
    }
    for rows in found.values():  # so that the first ones are of every category
        random.Random(0).shuffle(rows)
    return found


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write a JSONL file."""
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
    print(f"{path}: {len(rows)} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1000, help="rows of a mix (%(default)s)")
    parser.add_argument("--longest", type=int, help="most characters of a row; longer ones are left out")
    parser.add_argument("--pool_side", type=int, default=100, help="references of each side of the pool (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    sources = Sources(options.data, options.seed, options.longest)
    for share in SHARES:
        write(options.folder / f"mix_{round(100 * share):02}.jsonl", mix(sources, options.rows, share, options.seed))
    breaking = loaded(f"{options.data}/safety/benign_but_breaking_alpaca_top100.jsonl", "breaking", "breaking")
    write(options.folder / "breaking.jsonl", list(breaking))
    write(options.folder / "pool.jsonl", pool(options.pool_side))
    for name, rows in prompts(options.data).items():
        write(options.folder / f"{name}.jsonl", rows)


if __name__ == "__main__":
    main()
