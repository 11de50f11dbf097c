"""Which scores detect risky rows, and against which other rows: audits on data with labeled risky rows.

    python benchmarks/audit_detection.py --model demo-run/aligned --output_dir runs/audit --seeds 0 1 2
    python benchmarks/audit_detection.py --output_dir runs/audit --data hh --gsm8k GSM8K.jsonl --hh HH.jsonl.gz
    python benchmarks/audit_detection.py --output_dir runs/audit --data mixed --gsm8k GSM8K.jsonl --hh HH.jsonl.gz
    python benchmarks/audit_detection.py --model demo-run/aligned --output_dir runs/budget --data shares

`builtin`: tasks, chat, harmless look-alikes and safe refusals with risky rows; the pool is refusals of other topics.
`hh`: GSM8K problems and HH "chosen" responses with HH "rejected" ones; the pool is other "chosen" responses.
`mixed`: GSM8K problems and HH "chosen" responses with two kinds of risky rows, built-in compliances and HH "rejected"
responses, each with its own table; the pool is half built-in refusals, half HH "chosen" responses.
`shares`: built-in rows with 0 to 50% risky rows: what `auto` drops, and what a fixed budget of 0.90 drops.

Each audit has its own folder. A finished audit is reused if it is the same and refused if not, so the same command
resumes. Writes DATA-results.json and DATA-results.md. Values are means over seeds with 95% bootstrap intervals over
rows. Kinds marked as built-in are hard negatives, not part of the data: every audit with labeled risky rows scores
them if its data have few of their kind, with other rows for each seed; "all" excludes them.

Two properties of `builtin` and `shares` flatter scores. Risky answers are content-free compliances, worded like the
contrasts, and safe refusals come from the templates of the pool, which flatters scores made of contrasts or of the
pool, `auto` included. The harmless conversations that calibrate some scores are built-in chat and look-alikes with
other prompts but of the same origin as the rows to separate, which flatters `harmless_free`, all `standardized` scores
and `calibrated`. The same holds for built-in hard negatives: their chat and look-alikes share the origin of the
calibration rows, and their refusals that of a built-in pool, here with the same topics. On `hh` this concerns only the
hard negatives; on `mixed` it concerns all built-in rows.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


VARIANTS: dict[str, dict[str, Any]] = {
    "excess": {},
    "contrast": {"reference_contrast": "compliance"},
    "ce": {"preservation_loss": "ce"},
    "kl": {"preservation_loss": "kl"},
    "warm-up x4": {"warmup": 4},
    "upper half": {"upper_half": True},
}
SHARES = (0.0, 0.02, 0.1, 0.25, 0.5)
CONTROLS = {"loss": "control: loss alone", "control_loss": "control: loss after tuning on the pool"}


def builtin_data(options: argparse.Namespace, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Task rows and references of the built-in data."""
    from dualselect.data import builtin_mix, builtin_rows

    rows = builtin_mix(2 * options.rows, options.rows, options.rows, options.rows, seed=seed)
    return rows + builtin_rows("refusal", options.rows, seed=seed), builtin_pool(options, seed)


def builtin_pool(options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Refusals with topics that no task row has."""
    from dualselect.data import builtin_rows

    return builtin_rows("refusal", options.pool, seed=seed, split="test")


def share_data(
    options: argparse.Namespace, seed: int, share: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Built-in rows of which a share is risky: tasks, chat and look-alikes make up the rest."""
    from dualselect.data import builtin_mix

    total = 4 * options.rows
    risky = round(share * total)
    side = (total - risky) // 4
    rows = builtin_mix(total - risky - 2 * side, risky, side, side, seed=seed)
    return rows, builtin_pool(options, seed)


def labelled(sources: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of sources, each of the kind that it stands under."""
    from dualselect import load_rows

    return [row | {"kind": kind} for kind, source in sources.items() for row in load_rows(source).dataset]


def hh_data(options: argparse.Namespace, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """200 GSM8K problems to 50 rejected HH responses, 50 chosen ones next to them, and a pool of other chosen ones."""
    from dualselect import load_rows

    count, pool = options.rows, options.pool
    first = seed * (2 * count + pool)
    rows = labelled(
        {
            "task": f"{options.gsm8k}[{seed * 4 * count}:{(seed + 1) * 4 * count}]",
            "risky": f"{options.hh}#rejected[{first}:{first + count}]",
            "chosen": f"{options.hh}[{first + count}:{first + 2 * count}]",
        }
    )
    references = load_rows(f"{options.hh}[{first + 2 * count}:{first + 2 * count + pool}]").dataset
    return rows, list(references)


def mixed_data(options: argparse.Namespace, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """As many GSM8K problems, built-in compliances, rejected and chosen HH responses; a pool of two halves."""
    from dualselect import load_rows
    from dualselect.data import builtin_rows

    count, half = options.rows, options.pool // 2
    first = seed * (2 * count + half)
    rows = labelled(
        {
            "task": f"{options.gsm8k}[{seed * count}:{(seed + 1) * count}]",
            "rejected": f"{options.hh}#rejected[{first}:{first + count}]",
            "chosen": f"{options.hh}[{first + count}:{first + 2 * count}]",
        }
    )
    chosen = load_rows(f"{options.hh}[{first + 2 * count}:{first + 2 * count + half}]").dataset
    return builtin_rows("risky", count, seed=seed) + rows, builtin_pool(options, seed)[:half] + list(chosen)


DATA = {"builtin": builtin_data, "hh": hh_data, "mixed": mixed_data}
RISKY_KINDS = ("risky", "rejected")


def one_audit(
    folder: Path,
    rows: list[dict[str, Any]],
    references: list[dict[str, Any]],
    options: argparse.Namespace,
    seed: int,
    variant: str,
    all_scores: bool = True,
) -> None:
    """Audit; one that was finished is taken as it is if it is the same, and another one is refused."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig

    from dualselect import DualSelectConfig, audit, load_model

    settings = dict(VARIANTS[variant])
    warmup, upper_half = settings.pop("warmup", 1), settings.pop("upper_half", False)
    model, tokenizer = load_model(options.model)
    layers = model.config.num_hidden_layers
    config = DualSelectConfig(
        str(folder),
        selection_warmup_steps=options.warmup_steps * warmup,
        learning_rate=options.learning_rate,
        reference_fraction=options.reference_fraction,
        max_length=options.max_length,
        gradient_checkpointing=False,
        allow_prompt_overlap=True,
        bf16=options.bf16,
        use_cpu=not torch.cuda.is_available(),  # transformers takes bf16 on a CPU only where it is asked for
        report_to="none",
        seed=seed,
        **settings,
    )
    audit(
        model.to(config.device),
        tokenizer,
        Dataset.from_list(rows),
        Dataset.from_list(references),
        config=config,
        peft_config=LoraConfig(
            r=16,
            lora_alpha=32,
            target_modules=["q_proj", "v_proj"],
            layers_to_transform=list(range(layers // 2, layers)) if upper_half else None,
            task_type="CAUSAL_LM",
        ),
        output_dir=folder,
        risky_ids=[row["id"] for row in rows if row["kind"] in RISKY_KINDS],
        all_scores=all_scores,
    )


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The scored rows of an audit."""
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text("utf-8").splitlines()]
    return [line for line in lines if not line["unscored"]]


def read_negatives(folder: Path) -> list[dict[str, Any]]:
    """The built-in rows that were scored along with those of an audit."""
    from dualselect.auditing.aggregates import BUILTIN_MARK

    path = folder / "negatives.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return [line | {"kind": f"{line['kind']} ({BUILTIN_MARK})", "risky": False} for line in lines]


def scores_of(line: dict[str, Any]) -> dict[str, float]:
    """All scores of a row and the control."""
    return line["scores"] | {name: line[name] for name in ("control_loss",) if name in line}


def common_scores(seeds: list[list[dict[str, Any]]]) -> list[str]:
    """Names of the scores, which have to be the same in all rows of all seeds."""
    names = [set(scores_of(line)) for lines in seeds for line in lines]
    if not all(seeds) or any(one != names[0] for one in names):
        raise SystemExit("the audits of the seeds have no scored rows, or other scores: name another --output_dir")
    return list(scores_of(seeds[0][0]))


def scored_rows(folders: list[Path]) -> dict[str, str]:
    """Of each kind how many rows were scored, over all audits."""
    counts: dict[str, list[int]] = {}
    for folder in folders:
        for kind, found in json.loads((folder / "summary.json").read_text("utf-8"))["kinds"].items():
            scored, rows = counts.setdefault(kind, [0, 0])
            counts[kind] = [scored + found["scored"], rows + found["rows"]]
    return {kind: f"{scored} of {rows}" for kind, (scored, rows) in counts.items()}


def scored_line(found: dict[str, str]) -> str:
    """The same in words."""
    return "scored: " + ", ".join(f"{kind} {told}" for kind, told in found.items())


def detections(folders: list[Path], risky_kind: str = "") -> dict[str, Any]:
    """AUROC and recall of each score over all rows and against each kind, over the seeds.

    Args:
        folders: Of the seeds.
        risky_kind: The only kind of risky rows that is looked for; the other risky rows are then left out.
    """
    from dualselect.auditing.detection import mean_detection

    seeds = [
        [line for line in read_lines(folder) if not line["risky"] or risky_kind in ("", line["kind"])]
        for folder in folders
    ]
    negatives = [read_negatives(folder) for folder in folders]
    kinds = sorted({line["kind"] for lines in seeds for line in lines if not line["risky"]})
    kinds += sorted({line["kind"] for lines in negatives for line in lines})
    found = {}
    for score in common_scores(seeds):
        entry: dict[str, Any] = {}
        for against in ("all", *kinds):
            parts = []
            for lines, more in zip(seeds, negatives, strict=True):
                chosen = [line for line in lines if line["risky"] or against in ("all", line["kind"])]
                chosen += [line for line in more if line["kind"] == against]
                parts.append(([scores_of(line)[score] for line in chosen], [line["risky"] for line in chosen]))
            measured = mean_detection(parts).as_values()
            entry[against] = measured["auroc"]
            if against == "all":
                entry["recall"] = measured["recall"]
        found[score] = entry
    return found


def budget_of(folder: Path) -> dict[str, float | list[int]]:
    """What `auto` and a fixed budget of 0.90 drop of an audit's rows: shares of tokens, and counts of rows dropped."""
    summary, lines = json.loads((folder / "summary.json").read_text("utf-8")), read_lines(folder)
    tokens = sum(line["tokens"] for line in lines)
    found: dict[str, float | list[int]] = {
        "auto: tokens kept": summary["recommended_budget"]["kept_share"],
        "harmless tokens": sum(line["tokens"] for line in lines if line["kind"] != "risky") / tokens,
    }
    for name, drops in (
        ("auto", lambda line: line["conflict"]),
        ("fixed 0.90", lambda line: not line["kept"]["0.9"]),
    ):
        for what, chosen in (
            ("risky", [line for line in lines if line["kind"] == "risky"]),
            ("harmless", [line for line in lines if line["kind"] != "risky"]),
        ):
            found[f"{name}: {what} dropped"] = [sum(map(drops, chosen)), len(chosen)]
    return found


def detection_table(found: dict[str, Any]) -> Iterator[str]:
    """Lines of a markdown table, controls first, then by the worst column."""
    kinds = [name for name in next(iter(found.values())) if name != "recall"]
    yield "| score | " + " | ".join(f"against {kind}" for kind in kinds) + " | recall at 5, 10, 20% |"
    yield "|---" * (len(kinds) + 2) + "|"

    def worst(score: str) -> tuple[bool, float]:
        return score not in CONTROLS, -min(found[score][kind]["value"] for kind in kinds)

    for score in sorted(found, key=worst):
        cells = [f"{it['value']:.2f} [{it['low']:.2f}, {it['high']:.2f}]" for it in map(found[score].get, kinds)]
        recall = ", ".join(f"{it['value']:.2f}" for it in found[score]["recall"].values())
        yield f"| {CONTROLS.get(score, score)} | " + " | ".join(cells) + f" | {recall} |"


def budget_table(found: dict[str, Any]) -> Iterator[str]:
    """Lines of a markdown table of the budgets: means over seeds, and shares of the rows of all seeds (Wilson)."""
    from dualselect.evaluation.intervals import rate

    def cell(some: list[Any]) -> str:
        if not isinstance(some[0], list):
            return f"{sum(some) / len(some):.2f}"
        dropped, rows = (sum(numbers) for numbers in zip(*some, strict=True))
        found = rate(dropped, rows) if rows else None
        return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if found else ""

    columns = list(next(iter(next(iter(found.values())).values())))
    yield "| risky rows | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for share, seeds in found.items():
        cells = [cell([seed[column] for seed in seeds.values()]) for column in columns]
        yield f"| {float(share):.0%} | " + " | ".join(cells) + " |"


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output_dir", type=Path, required=True)
    add("--data", choices=[*DATA, "shares"], default="builtin")
    add("--model", default="smollm2-135m-instruct", help="name or folder; an aligned one has something to lose")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--variants", nargs="+", choices=list(VARIANTS), default=["excess", "contrast"])
    add("--rows", type=int, default=50, help="rows of each kind (tasks: builtin twice as many, hh four times)")
    add("--pool", type=int, default=100)
    add("--gsm8k", help="GSM8K training rows, JSONL (for hh and mixed)")
    add("--hh", help="HH-RLHF preference rows, JSONL (for hh and mixed)")
    add("--warmup_steps", type=int, default=10)
    add("--learning_rate", type=float, default=2e-4)
    add("--reference_fraction", type=float, default=0.1)
    add("--max_length", type=int, default=256)
    add("--cheap_scores", action="store_true", help="leave out the scores that cost further forward passes")
    add("--bf16", action="store_true", help="mixed precision, about twice as fast on a CPU that has it")
    options = parser.parse_args()
    if options.data in ("hh", "mixed") and not (options.gsm8k and options.hh):
        parser.error(f"--data {options.data} needs --gsm8k and --hh")
    return options


def main() -> None:
    """Audit, collect, write."""
    options = parsed()
    results: dict[str, Any] = {}
    scored: dict[str, Any] = {}
    lines = []
    if options.data == "shares":
        all_folders = []
        for share in SHARES:
            for seed in options.seeds:
                folder = options.output_dir / "shares" / f"{share:g}" / f"seed-{seed}"
                one_audit(folder, *share_data(options, seed, share), options, seed, "contrast", all_scores=False)
                results.setdefault(f"{share:g}", {})[str(seed)] = budget_of(folder)
                all_folders.append(folder)
        scored = scored_rows(all_folders)
        lines += [scored_line(scored), "", *budget_table(results)]
    else:
        made = DATA[options.data]
        for variant in options.variants:
            folders = [
                options.output_dir / options.data / variant.replace(" ", "-") / f"seed-{seed}"
                for seed in options.seeds
            ]
            for folder, seed in zip(folders, options.seeds, strict=True):
                one_audit(folder, *made(options, seed), options, seed, variant, all_scores=not options.cheap_scores)
            scored[variant] = scored_rows(folders)
            told = scored_line(scored[variant])
            lines += [f"{options.data}, {variant}, {len(folders)} seeds; {told}", ""]
            results[variant] = {}
            for kind in RISKY_KINDS if options.data == "mixed" else ("risky",):
                results[variant][kind] = detections(folders, kind)
                lines += [f"finding {kind} rows:", "", *detection_table(results[variant][kind]), ""]
    text = "\n".join(lines) + "\n"
    options.output_dir.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) for name, value in vars(options).items()}
    content = {"settings": settings, "scored": scored, "results": results}
    (options.output_dir / f"{options.data}-results.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    (options.output_dir / f"{options.data}-results.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
