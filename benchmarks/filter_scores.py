"""What a calibrated filter drops, by the score that it reads: harmless rows of many kinds, and risky rows.

    python benchmarks/filter_scores.py FOLDER_OF_DATA --model runs/safety_utility/start

The gradients of labelled rows are taken once, after a few plain steps on a careless mix, and kept (bfloat16, 2 MiB a
row). Each candidate is a direction; the score of a row is minus its cosine to it. A row is dropped above the second
highest of 100 harmless rows of each calibration kind (built-in chat, look-alikes, tasks), the highest kind deciding,
which is what `harmless_drop_rate: 0.01` does with 199 rows. `pairs` uses the unsafe answers of BeaverTails (pairs
0-499) in place of written compliances: an upper bound, since they cannot be shipped.

Takes about 20 minutes on two CPU cores with SmolLM2-135M. FOLDER_OF_DATA: see safety_utility/mixes.py.
"""

import argparse
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from common import IGNORED, lora
from datasets import Dataset
from peft import get_peft_model
from torch import Tensor
from trl.trainer.utils import add_fused_lm_head

from dualselect import load_model, load_rows
from dualselect.data import as_conversations, builtin_rows, tokenize
from dualselect.data.builtin.compliances import compliance as worded_compliance
from dualselect.data.contrast import compliance
from dualselect.data.token_columns import token_rows
from dualselect.gradients import GradientEngine, GradientLayout, Materialise, Sum
from dualselect.models.losses import response_cross_entropy
from dualselect.selection import conflict_direction


CALIBRATION = ("cal_chat", "cal_lookalike", "cal_task")
HARMLESS = ("gsm8k", "sql", "instruction", "hh_chosen", "sensitive", "refusal")
RISKY = ("worded", "worded otherwise", "unsafe", "hh_rejected", "breaking")
OTHERWISE = (
    "Here's what you asked for. It begins with choosing a target and ends when the goal is reached.",
    "Yes. The approach most people use is simple: find the right tools, read twice, and then carry it out at night.",
    "Got it! Let's get started. I'd recommend some reading, getting supplies, a small test, and then going all in.",
    "Of course. This works in three stages. Stage one is research. Stage two is doing it. Stage three is the details.",
)
BATCH, WARMUP, ROWS = 8, 10, 40


def row(prompt: Any, completion: Any) -> dict[str, Any]:
    """A conversation of one turn each."""
    turns = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    answer = completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]
    return {"prompt": turns, "completion": answer}


def builtin(kind: str, start: int, stop: int, split: Any = "train") -> list[dict[str, Any]]:
    """Built-in rows."""
    return [row(one["prompt"], one["completion"]) for one in builtin_rows(kind, stop, seed=3, split=split)[start:]]


def loaded(source: str) -> list[dict[str, Any]]:
    """Rows of a source."""
    return [row(one["prompt"], one["completion"]) for one in load_rows(source).dataset]


def lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def labelled(data: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows by what they are used for; no row has two uses."""
    safety = data / "safety"
    pairs = lines(safety / "beavertails_pairs.jsonl")
    asked = [one["prompt"] for one in lines(safety / "advbench_first_half.jsonl")]
    pool = builtin_rows("refusal", 60, seed=3)
    return {
        "pool_refusal": [row(one["prompt"], one["completion"]) for one in pool],
        "pool_compliance": [row(one["prompt"], compliance(one["id"])) for one in pool],
        "pool_help": builtin("lookalike", 0, 60),
        "pairs_safe": [row(one["prompt"], one["chosen"]) for one in pairs[:ROWS]],
        "pairs_unsafe": [row(one["prompt"], one["rejected"]) for one in pairs[:ROWS]],
        "cal_chat": builtin("chat", 0, 100),
        "cal_lookalike": builtin("lookalike", 100, 200),
        "cal_task": builtin("task", 0, 100),
        "refusal": builtin("refusal", 0, ROWS, "test"),
        "gsm8k": loaded(f"{data}/gsm8k_train.jsonl[0:{ROWS}]"),
        "sql": loaded(f"{data}/instruct/sql_generation.jsonl[0:{ROWS}]"),
        "instruction": loaded(f"{data}/instruct/selfinstruct_seed_tasks.jsonl[100:{100 + ROWS}]"),
        "hh_chosen": loaded(f"{data}/hh_harmless_test.jsonl.gz[0:{ROWS}]"),
        "sensitive": [row(one["prompt"], one["chosen"]) for one in pairs[500 : 500 + ROWS]],
        "worded": [row(ask, worded_compliance(ask.lower().rstrip("."), random.Random(ask))) for ask in asked[:ROWS]],
        "worded otherwise": [row(ask, OTHERWISE[n % len(OTHERWISE)]) for n, ask in enumerate(asked[ROWS : 2 * ROWS])],
        "unsafe": [row(one["prompt"], one["rejected"]) for one in pairs[700 : 700 + ROWS]],
        "hh_rejected": loaded(f"{data}/hh_harmless_test.jsonl.gz#rejected[200:{200 + ROWS}]"),
        "breaking": loaded(f"{safety}/benign_but_breaking_alpaca_top100.jsonl[0:{ROWS}]"),
    }


class Gradients:
    """The gradients of all rows, by kind, after the warm-up, and the task direction of the warm-up."""

    def __init__(self, model_name: str, rows: Mapping[str, list[dict[str, Any]]], longest: int) -> None:
        model, tokenizer = load_model(model_name, dtype="float32")
        flat = [one for kind in rows.values() for one in kind]
        conversations = as_conversations(Dataset.from_list(flat), name="rows")
        tokens = tokenize(conversations, tokenizer, max_length=longest, name="rows").dataset
        kinds = [kind for kind, its in rows.items() for _ in its]
        self.kinds = [kinds[index] for index in tokens["row_index"]]
        torch.manual_seed(0)
        self.model = get_peft_model(model, lora())
        add_fused_lm_head(self.model.get_base_model())
        self.model.eval()
        self.layout = GradientLayout.of(self.model)
        self.engine = GradientEngine("taps", self.model, self.layout)
        self.padding = int(tokenizer.pad_token_id or 0)
        self.task_direction = self._warm_up(tokens)
        self.values = self._all(tokens)

    def _collated(self, tokens: Dataset, positions: list[int]) -> dict[str, Tensor]:
        rows = token_rows(tokens, positions)

        def padded(name: str, value: int) -> Tensor:
            tensors = [torch.tensor(row[name]) for row in rows]
            return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        mask = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
        return {
            "input_ids": padded("input_ids", self.padding),
            "labels": padded("labels", IGNORED),
            "attention_mask": mask,
        }

    def _warm_up(self, tokens: Dataset) -> Tensor:
        mixed = ("gsm8k", "sql", "hh_chosen", "worded", "unsafe")
        order = [place for place, kind in enumerate(self.kinds) if kind in mixed]
        random.Random(1).shuffle(order)
        parameters = [value for value in self.model.parameters() if value.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0)
        direction = self.layout.zeros()
        for step in range(WARMUP):
            batch = self._collated(tokens, order[step * BATCH : (step + 1) * BATCH])
            sink = Sum(self.layout, torch.full((len(batch["input_ids"]),), 1 / BATCH))
            self.engine(self.model, batch, response_cross_entropy, [sink], step=step)
            direction += sink.total[0]
            self.layout.assign(self.model, sink.total[0])
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        return direction

    def _all(self, tokens: Dataset) -> Tensor:
        values = torch.zeros(len(tokens), self.layout.size, dtype=torch.bfloat16)
        order = sorted(range(len(tokens)), key=lambda place: -len(tokens[place]["input_ids"]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            kept = Materialise(self.layout, len(places))
            self.engine(self.model, self._collated(tokens, places), response_cross_entropy, [kept], step=WARMUP)
            values[places] = kept.gradients.bfloat16()
        return values

    def mean(self, kind: str) -> Tensor:
        """Mean gradient of a kind, shape (P,)."""
        return torch.stack([self.values[n].float() for n, name in enumerate(self.kinds) if name == kind]).mean(0)

    def scores(self, direction: Tensor) -> dict[str, Tensor]:
        """Minus the cosine of each row to a direction, by kind."""
        found: dict[str, list[float]] = {}
        for kind, value in zip(self.kinds, self.values, strict=True):
            gradient = value.float()
            cosine = (gradient @ direction) / (gradient.norm() * direction.norm()).clamp(min=1e-12)
            found.setdefault(kind, []).append(-float(cosine))
        return {kind: torch.tensor(values) for kind, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--longest", type=int, default=160, help="most tokens of a row (%(default)s)")
    options = parser.parse_args()
    found = Gradients(options.model, labelled(options.data), options.longest)
    refusal, compliant, help_ = (found.mean(kind) for kind in ("pool_refusal", "pool_compliance", "pool_help"))
    contrast = refusal - compliant
    candidates = {
        "refusals": refusal,
        "refusals - compliances": contrast,
        "... without the task direction": conflict_direction(contrast[None], found.task_direction),
        "... and what help shares (the filter)": conflict_direction(
            torch.stack([contrast, help_]), found.task_direction
        ),
        "help - compliances": help_ - compliant,
        "pairs (upper bound)": found.mean("pairs_safe") - found.mean("pairs_unsafe"),
    }
    print("| direction | " + " | ".join((*HARMLESS, *RISKY)) + " |")
    print("|---|" + "---|" * len((*HARMLESS, *RISKY)))
    for name, direction in candidates.items():
        scores = found.scores(direction)
        threshold = max(float(scores[kind].sort(descending=True).values[1]) for kind in CALIBRATION)
        dropped = [f"{(scores[kind] > threshold).double().mean():.0%}" for kind in (*HARMLESS, *RISKY)]
        print(f"| {name} | " + " | ".join(dropped) + " |")


if __name__ == "__main__":
    main()
