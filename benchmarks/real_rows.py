"""Cost and precision on real rows: GSM8K problems mixed with HH-RLHF "rejected" responses.

    python benchmarks/real_rows.py --gsm8k gsm8k_train.jsonl --hh hh_harmless_test.jsonl.gz

Runs examples/gsm8k_hh.yaml three times on the same rows: plain TRL SFT, DualSelect with `preservation_loss` ce and
with excess. Each run has its own process. Prints a table of time per step, time of a refresh, peak memory,
the share of risky rows among the dropped examples, and the AUROC of score, loss and cosine for risky rows. The plain
run stops after `--plain_steps`, which suffices to measure its cost.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dualselect.cli.parser import parse_train_arguments


EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "gsm8k_hh.yaml"


def auroc(values: list[float], positive: list[bool]) -> float:
    """Probability that a risky row has a higher value than another row; ties count half."""
    risky = [value for value, is_risky in zip(values, positive, strict=True) if is_risky]
    others = [value for value, is_risky in zip(values, positive, strict=True) if not is_risky]
    above = sum((one > other) + 0.5 * (one == other) for one in risky for other in others)
    return above / (len(risky) * len(others))


def one_run(options: argparse.Namespace) -> dict[str, float | str]:
    """Train once in this process and measure."""
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer, get_peft_config

    from dualselect import DualSelectTrainer, load_model, load_rows
    from dualselect.data import tokenize

    class Clock(TrainerCallback):
        """Seconds of each optimizer step."""

        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: object, **__: object) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            self.seconds.append(time.perf_counter() - self.start)

    loss = "excess" if options.one == "plain" else options.one
    arguments = ["--config", str(EXAMPLE), "--preservation_loss", loss, "--use_cpu", "--report_to", "none"]
    arguments += ["--save_strategy", "no", "--output_dir", options.folder]
    if options.max_length:
        arguments += ["--max_length", str(options.max_length)]
    settings = parse_train_arguments(arguments).settings
    assert settings is not None
    task = load_rows([f"{options.gsm8k}[0:200]", f"{options.hh}#rejected[0:50]"]).dataset
    risky = set(task["id"][200:])
    model, tokenizer = load_model(settings.model.model_name_or_path, dtype=settings.model.dtype)
    clock, peft = Clock(), get_peft_config(settings.model)
    if options.one == "plain":
        tokens = tokenize(task, tokenizer, max_length=settings.training.max_length).dataset
        same = (
            "num_train_epochs per_device_train_batch_size learning_rate max_length gradient_checkpointing seed".split()
        )
        args = SFTConfig(
            options.folder,
            **{name: getattr(settings.training, name) for name in same},
            lr_scheduler_type="constant",
            bf16=False,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            max_steps=options.plain_steps,
        )
        rows = tokens.select_columns(["input_ids", "labels"])
        trainer = SFTTrainer(
            model, args, train_dataset=rows, processing_class=tokenizer, peft_config=peft, callbacks=[clock]
        )
    else:
        trainer = DualSelectTrainer(
            model,
            settings.training,
            train_dataset=task,
            reference_dataset=load_rows(f"{options.hh}[50:250]").dataset,
            processing_class=tokenizer,
            peft_config=peft,
            callbacks=[clock],
        )
    trainer.train()
    usual = statistics.median(clock.seconds)
    found: dict[str, float | str] = {
        "seconds per step": usual,
        "steps": str(len(clock.seconds)),
        "seconds in all": sum(clock.seconds),
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if options.one == "plain":
        return found
    lines = [line for line in trainer.selection_log.read() if line["event"] == "step"]
    first = lines[0]["step"] - 1
    ids = [name for line in lines for name in line["ids"]]
    positive = [name in risky for name in ids]
    kept = [keep for line in lines for keep in line["kept"]]
    dropped = [name in risky for name, keep in zip(ids, kept, strict=True) if not keep]

    def column(name: str) -> list[float]:
        return [value for line in lines for value in line[name]]

    return found | {
        "start losses, seconds": clock.seconds[0] - usual,
        "refresh, seconds": clock.seconds[first] - usual,
        "dropped, of them risky": f"{len(dropped)}, {sum(dropped)}",
        "AUROC of the score": auroc(column("scores"), positive),
        "AUROC of the loss": auroc(column("losses"), positive),
        "AUROC of -cosine": auroc([-value for value in column("cosines")], positive),
    }


def main() -> None:
    """Measure each run in its own process and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", required=True, help="GSM8K training rows, JSONL")
    parser.add_argument("--hh", required=True, help="HH-RLHF preference rows, JSONL")
    parser.add_argument("--plain_steps", type=int, default=-1, help="steps of the plain run (-1: the whole epoch)")
    parser.add_argument("--max_length", type=int, help="in place of the example's")
    parser.add_argument("--one", choices=["plain", "ce", "excess"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print("measured " + json.dumps(one_run(options)))
        return
    columns = {}
    for one in ("plain", "ce", "excess"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--gsm8k", options.gsm8k, "--hh", options.hh]
            command += ["--plain_steps", str(options.plain_steps)]
            command += ["--max_length", str(options.max_length)] if options.max_length else []
            done = subprocess.run(
                [*command, "--one", one, "--folder", folder], check=True, stdout=subprocess.PIPE, text=True
            )
        line = next(line for line in done.stdout.splitlines() if line.startswith("measured "))
        columns[one] = json.loads(line.removeprefix("measured "))
    print("| | plain TRL SFT | DualSelect ce | DualSelect excess |\n|---|---|---|---|")
    for name in columns["excess"]:
        cells = [columns[one].get(name, "") for one in columns]
        print(f"| {name} | " + " | ".join(f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells) + " |")


if __name__ == "__main__":
    main()
