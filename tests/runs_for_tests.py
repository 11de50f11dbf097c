"""Run directories made up of small files, as training and evaluation leave them, for tests of pages."""

import random
from pathlib import Path

from dualselect.system.files import write_json, write_text
from dualselect.training.selection_log import SelectionLog


NASTY = (
    '</script><script>document.title = "taken"</script><img src=x onerror="document.title = 1">'
    "<!--<script> $x_1$ \u202egnp.exe\u202c \x1b[31mred\x1b[0m \u2028 & \ud800"
)
KINDS = ("task", "task", "task", "lookalike", "chat", "risky")
TURNED = ("task_direction", "reference_direction", "same_references")
CATEGORIES = ("privacy", "fraud", "weapons", "malware", "self-harm", "theft")


def made_run(folder: Path, *, rows: int = 48, references: int = 24, seed: int = 0, nasty: str = "") -> Path:
    """A run of one epoch in batches of 8 with a warm-up of two steps and a refresh each ten; risky rows conflict."""
    chance = random.Random(seed)
    log = SelectionLog(folder)
    losses = []
    for number, start in enumerate(range(0, rows, 8)):
        step = number + 1
        batch = range(start, min(start + 8, rows))
        kinds = [KINDS[row % len(KINDS)] for row in batch]
        facts = {
            "ids": [f"row-{row}{nasty if row == 3 else ''}" for row in batch],
            "kinds": kinds,
            "categories": [nasty if row == 3 and nasty else f"topic {row % 5}" for row in batch],
            "losses": [chance.uniform(0.5, 2) for _ in batch],
        }
        losses.append(sum(facts["losses"]) / len(batch))
        if step <= 2:
            log.append("warmup", step, **facts, task_gradient_norm=1.0)
            continue
        if (step - 3) % 10 == 0:
            turned = {f"{name}_cosine": 1 - step / 100 for name in TURNED} if step > 3 else {}
            log.append("refresh", step, **_refresh(chance, references), conflict_threshold=1.0, **turned)
        cosines = [chance.gauss(-0.3 if kind == "risky" else 0.1, 0.08) for kind in kinds]
        log.append(
            "step",
            step,
            **facts,
            cosines=cosines,
            scores=[loss - cosine for loss, cosine in zip(facts["losses"], cosines, strict=True)],
            conflicts=[-10 * cosine for cosine in cosines],
            kept=[-10 * cosine <= 1.0 for cosine in cosines],
            tokens=[10 for _ in cosines],
            task_direction_cosine=1 - (step - 3) % 10 / 20,
        )
    log.append("end", len(losses) + 1, same_references_cosine=0.875)
    lines = [f'{{"step": {step}, "loss": {loss}}}\n' for step, loss in enumerate(losses, 1)]
    write_text(folder / "metrics.jsonl", "".join(lines))
    return folder


def _refresh(chance: random.Random, references: int) -> dict:
    scores = [chance.uniform(0, 2) for _ in range(references)]
    best = sorted(scores)[-max(1, references // 4)]
    return {
        "ids": [f"ref-{number}" for number in range(references)],
        "kinds": ["refusal"] * references,
        "categories": [CATEGORIES[number % len(CATEGORIES)] for number in range(references)],
        "losses": scores,
        "preservation_losses": scores,
        "cosines": [-score / 2 for score in scores],
        "scores": scores,
        "kept": [score >= best for score in scores],
        "weights": [1.0] * references,
        "task_direction_norm": 1.0,
        "reference_direction_norm": 1.0,
    }


def made_evaluation(folder: Path, *, prompts: int = 24, refused: float = 0.8, seed: int = 0, nasty: str = "") -> Path:
    """The folder with an evaluation of a harmful, a harmless and a task suite by two judges."""
    chance = random.Random(seed)
    responses = [
        _response(suite, number, chance.random() < refused, nasty if number == 1 else "")
        for suite in ("builtin-harmful", "builtin-lookalike", "builtin-task")
        for number in range(prompts)
    ]
    metrics = {"builtin-harmful": "refusal_rate", "builtin-lookalike": "over_refusal_rate"}
    summary = [
        entry
        for suite, metric in metrics.items()
        for judge in ("refusal", "openai:rubric")
        for entry in _rates(responses, suite, metric, judge, suite == "builtin-harmful")
    ]
    exact = [response["measures"]["exact_match"] for response in responses if response["suite"] == "builtin-task"]
    summary.append(_rate("builtin-task", "", "exact_match", "", exact, 0, True))
    summary.append(
        _rate("builtin-task", "", "kl_to_start", "", [], 0, None) | {"value": 0.0312, "interval": "bootstrap"}
    )
    write_json(
        folder / "evaluation" / "builtin.json",
        {
            "format": 1,
            "model": {"name": folder.name, "path": str(folder), "fingerprint": "0123"},
            "generation": {"max_new_tokens": 64, "temperature": 0.0},
            "judges": [
                {"name": "refusal", "measure": "refusal", "prompt_hash": "a"},
                {"name": "openai:rubric", "measure": "harmfulness", "prompt_hash": "b"},
            ],
            "versions": {},
            "summary": summary,
            "responses": responses,
        },
    )
    return folder


def _response(suite: str, number: int, good: bool, nasty: str) -> dict:
    harmful = suite == "builtin-harmful"
    return {
        "suite": suite,
        "id": f"{suite}-{number}",
        "category": CATEGORIES[number % len(CATEGORIES)],
        "kind": suite,
        "prompt": [{"role": "user", "content": nasty.replace("\ud800", "") or f"Question {number} of {suite}?"}],
        "response": nasty.replace("\ud800", "") or ("I'm sorry, I can't help with that." if good else "Sure: ..."),
        "answer": str(number) if suite == "builtin-task" else "",
        "verdicts": {}
        if suite == "builtin-task"
        else {
            "refusal": {"value": float(good == harmful), "reason": "", "raw": ""},
            "openai:rubric": {"value": None, "reason": "no verdict in the reply", "raw": "maybe"}
            if number % 7 == 0
            else {"value": 1.0 if good else 4.0, "reason": "judged", "raw": "#score: 1"},
        },
        "measures": {"empty": 0, "repetitive": int(number == 2)}
        | ({"exact_match": int(good)} if suite == "builtin-task" else {}),
    }


def _rates(responses: list[dict], suite: str, metric: str, judge: str, high: bool) -> list[dict]:
    entries = []
    for category in ("", *CATEGORIES):
        some = [it for it in responses if it["suite"] == suite and category in ("", it["category"])]
        values = [it["verdicts"][judge]["value"] for it in some]
        scored = [float(value == 1) for value in values if value is not None]
        entries.append(_rate(suite, judge, metric, category, scored, len(values) - len(scored), high))
    return entries


def _rate(suite: str, judge: str, metric: str, category: str, values: list, unscored: int, high: bool | None) -> dict:
    value = sum(values) / len(values) if values else None
    return {
        "suite": suite,
        "judge": judge,
        "metric": metric,
        "category": category,
        "value": value,
        "low": None if value is None else max(0.0, value - 0.2),
        "high": None if value is None else min(1.0, value + 0.1),
        "count": len(values),
        "unscored": unscored,
        "interval": "wilson",
        "higher_is_better": high,
    }


def made_comparison(folder: Path, methods: tuple[str, ...] = ("sft", "lisa", "dualselect")) -> Path:
    """A comparison of methods on three seeds; the last one failed on one of them."""
    chance = random.Random(0)
    rows = [_compared(method, *measure, chance) for method in ("start", *methods) for measure in COMPARED]
    facts = [
        {
            "name": method,
            "method": None if method == "start" else method,
            "settings": {"rho": 0.5} if method == "dualselect" else {},
            "seeds": [] if method == "start" else [0, 1, 2],
            "runs": {"0": f"runs/{method}/seed-0"},
            "tuning": {"chosen": {"learning_rate": 0.001}, "by": "balance", "runs": 4} if method == "lisa" else None,
            "failed": {"seed 2": "no memory was left"} if method == methods[-1] else {},
        }
        for method in ("start", *methods)
    ]
    write_json(
        folder / "comparison.json",
        {"format": 1, "baseline": "sft", "seeds": [0, 1, 2], "methods": facts, "rows": rows},
    )
    return folder


COMPARED = (
    ("safety_average", "", "pairs", True, 100),
    ("refusal_rate", "builtin-harmful", "refusal", True, 1),
    ("exact_match", "builtin-task", "", True, 1),
    ("training_time_ratio", "", "", False, 3),
)


def _compared(
    method: str, metric: str, suite: str, judge: str, high: bool, scale: float, chance: random.Random
) -> dict:
    value = chance.uniform(0.3, 0.9) * scale
    apart = {"value": -0.05 * scale, "low": -0.1 * scale, "high": 0.02 * scale}
    return {
        "method": method,
        "suite": suite,
        "judge": judge,
        "metric": metric,
        "value": value,
        "low": value - 0.06 * scale,
        "high": value + 0.08 * scale,
        "count": 192,
        "unscored": 0,
        "interval": "bootstrap",
        "higher_is_better": high,
        "seeds": {},
        "difference": apart if suite and method not in ("start", "sft") else None,
    }
