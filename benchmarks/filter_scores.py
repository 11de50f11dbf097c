"""What a calibrated filter drops, by what it reads: harmless rows of many kinds, and risky rows.

    python benchmarks/filter_scores.py FOLDER_OF_DATA --model runs/safety_utility/start --features runs/features

The gradients of labelled rows, and the hidden states of their responses, are taken once, after a few plain steps on a
careless mix, and kept in `--features`. Each candidate gives every row a number. A row is dropped if its number is
above the second highest of 100 harmless rows of each calibration kind (built-in chat, look-alikes, tasks), the highest
kind deciding, which is what `harmless_drop_rate: 0.01` does with 199 rows. `pairs` uses the unsafe answers of
BeaverTails (pairs 0-499) in place of written compliances: an upper bound, since they cannot be shipped.

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
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer
from trl.trainer.utils import add_fused_lm_head

from dualselect import load_model, load_rows
from dualselect.data import as_conversations, builtin_rows, tokenize
from dualselect.data.builtin.compliances import compliance as worded_compliance
from dualselect.data.contrast import compliance
from dualselect.data.token_columns import token_rows
from dualselect.gradients import GradientEngine, GradientLayout, Materialise, Sum
from dualselect.models.losses import response_cross_entropy
from dualselect.models.response_states import DEPTH, mean_over_response
from dualselect.selection import ConflictFilter, HarmlessScores, Probe, conflict_direction


CALIBRATION = ("cal_chat", "cal_lookalike", "cal_task")
HARMLESS = ("gsm8k", "sql", "instruction", "hh_chosen", "sensitive", "refusal")
RISKY = ("worded", "worded otherwise", "unsafe", "hh_rejected", "breaking")
OTHERWISE = (
    "Here's what you asked for. It begins with choosing a target and ends when the goal is reached.",
    "Yes. The approach most people use is simple: find the right tools, read twice, and then carry it out at night.",
    "Got it! Let's get started. I'd recommend some reading, getting supplies, a small test, and then going all in.",
    "Of course. This works in three stages. Stage one is research. Stage two is doing it. Stage three is the details.",
)
MIXED = ("gsm8k", "sql", "hh_chosen", "worded", "unsafe")
DEPTHS = (0.4, DEPTH, 0.7, 0.8, 0.9, 1.0)
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


class Features:
    """Gradients of all rows after the warm-up, states of their responses, and the task direction of the warm-up.

    Attributes:
        kinds: The kind of each of n rows.
        gradients: Shape (n, P), bfloat16.
        states: Mean hidden state over the response after some decoder layers, shape (n, L, H).
        task_direction: Shape (P,).
    """

    def __init__(self, kinds: list[str], gradients: Tensor, states: Tensor, task_direction: Tensor) -> None:
        self.kinds, self.gradients, self.states, self.task_direction = kinds, gradients, states, task_direction

    @classmethod
    def kept(cls, path: Path) -> "Features":
        """Read the file of `keep`."""
        with safe_open(path, framework="pt") as file:
            tensors = [file.get_tensor(name) for name in ("gradients", "states", "task_direction")]
            return cls(json.loads(file.metadata()["kinds"]), *tensors)

    def keep(self, path: Path) -> None:
        """Write everything."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(self, name).contiguous() for name in ("gradients", "states", "task_direction")}
        save_file(tensors, path, {"kinds": json.dumps(self.kinds)})

    def of(self, *kinds: str) -> Tensor:
        """Positions of the rows of some kinds."""
        return torch.tensor([place for place, kind in enumerate(self.kinds) if kind in kinds])

    def mean(self, kind: str) -> Tensor:
        """Mean gradient of a kind, shape (P,)."""
        return self.gradients[self.of(kind)].float().mean(0)

    def cosines(self, direction: Tensor) -> Tensor:
        """Cosine of each row to a direction, shape (n,), float64."""
        found = []
        for gradient in self.gradients:
            value = gradient.float()
            found.append((value @ direction) / (value.norm() * direction.norm()).clamp(min=1e-12))
        return torch.stack(found).double()

    def probe(self, layer: int) -> Probe:
        """The probe of the filter on the states after one of the layers."""
        states = self.states[:, layer]
        return Probe.between(states[self.of("pool_compliance")], states[self.of("pool_refusal", "pool_help")])


def taken(model_name: str, rows: Mapping[str, list[dict[str, Any]]], longest: int) -> Features:
    """Take the features of labelled rows."""
    model, tokenizer = load_model(model_name, dtype="float32")
    flat = [one for kind in rows.values() for one in kind]
    conversations = as_conversations(Dataset.from_list(flat), name="rows")
    tokens = tokenize(conversations, tokenizer, max_length=longest, name="rows").dataset
    names = [kind for kind, its in rows.items() for _ in its]
    kinds = [names[index] for index in tokens["row_index"]]
    torch.manual_seed(0)
    adapted = get_peft_model(model, lora())
    add_fused_lm_head(adapted.get_base_model())
    adapted.eval()
    layout = GradientLayout.of(adapted)
    engine = GradientEngine("taps", adapted, layout)
    padding = int(tokenizer.pad_token_id or 0)

    def collated(positions: list[int]) -> dict[str, Tensor]:
        batch = token_rows(tokens, positions)

        def padded(name: str, value: int) -> Tensor:
            tensors = [torch.tensor(row[name]) for row in batch]
            return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

        lengths = torch.tensor([len(row["input_ids"]) for row in batch])
        mask = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
        return {
            "input_ids": padded("input_ids", padding),
            "labels": padded("labels", IGNORED),
            "attention_mask": mask,
        }

    order = [place for place, kind in enumerate(kinds) if kind in MIXED]
    random.Random(1).shuffle(order)
    parameters = [value for value in adapted.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0)
    direction = layout.zeros()
    for step in range(WARMUP):
        batch = collated(order[step * BATCH : (step + 1) * BATCH])
        summed = Sum(layout, torch.full((len(batch["input_ids"]),), 1 / BATCH))
        engine(adapted, batch, response_cross_entropy, [summed], step=step)
        direction += summed.total[0]
        layout.assign(adapted, summed.total[0])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    layers = [module for module in adapted.modules() if isinstance(module, GradientCheckpointingLayer)]
    read = [layers[round(depth * len(layers)) - 1] for depth in DEPTHS]
    outputs: dict[int, Tensor] = {}
    for place, layer in enumerate(read):
        layer.register_forward_hook(
            lambda _m, _a, out, place=place: outputs.__setitem__(place, out[0] if isinstance(out, tuple) else out)
        )
    values = torch.zeros(len(tokens), layout.size, dtype=torch.bfloat16)
    states = torch.zeros(len(tokens), len(DEPTHS), model.config.hidden_size)
    by_length = sorted(range(len(tokens)), key=lambda place: -len(tokens[place]["input_ids"]))
    for start in range(0, len(by_length), BATCH):
        places = by_length[start : start + BATCH]
        kept, batch = Materialise(layout, len(places)), collated(places)
        engine(adapted, batch, response_cross_entropy, [kept], step=WARMUP)
        values[places] = kept.gradients.bfloat16()
        for place, output in outputs.items():
            states[places, place] = mean_over_response(output.detach(), batch)
    return Features(kinds, values, states, direction)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--features", type=Path, required=True, help="file of the features; used again if it exists")
    parser.add_argument("--longest", type=int, default=160, help="most tokens of a row (%(default)s)")
    options = parser.parse_args()
    if not options.features.exists():
        taken(options.model, labelled(options.data), options.longest).keep(options.features)
    found = Features.kept(options.features)
    refusal, compliant, help_ = (found.mean(kind) for kind in ("pool_refusal", "pool_compliance", "pool_help"))
    contrast = refusal - compliant
    direction = conflict_direction(torch.stack([contrast, help_]), found.task_direction)
    candidates = {
        "gradient: refusals": -found.cosines(refusal),
        "gradient: refusals - compliances": -found.cosines(contrast),
        "gradient: ... without the task direction": -found.cosines(
            conflict_direction(contrast[None], found.task_direction)
        ),
        "gradient: ... and what help shares (a)": -found.cosines(direction),
        "gradient: pairs (upper bound)": -found.cosines(found.mean("pairs_safe") - found.mean("pairs_unsafe")),
    }
    cosines, calibrating = found.cosines(direction), found.of(*CALIBRATION)
    kinds = [found.kinds[place] for place in calibrating]
    for place, depth in enumerate(DEPTHS):
        probe = found.probe(place)
        probed = probe.scores(found.states[:, place])
        both = ConflictFilter.calibrated(probe, cosines[calibrating], probed[calibrating], kinds)
        mark = " (b)" if depth == DEPTH else ""
        candidates[f"hidden states at {depth:.0%} of the layers{mark}"] = probed
        if depth == DEPTH:
            candidates["larger of (a) and (b), standardized (the filter)"] = both.conflicts(cosines, probed)
    print("| what is read | " + " | ".join((*HARMLESS, *RISKY)) + " |")
    print("|---|" + "---|" * len((*HARMLESS, *RISKY)))
    for name, scores in candidates.items():
        threshold = HarmlessScores.of(scores[calibrating], kinds).threshold(0.02)
        dropped = [f"{(scores[found.of(kind)] > threshold).double().mean():.0%}" for kind in (*HARMLESS, *RISKY)]
        print(f"| {name} | " + " | ".join(dropped) + " |")


if __name__ == "__main__":
    main()
