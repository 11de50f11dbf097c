"""Time of a DualSelect step against a plain TRL SFT step on the same batch, alternating in one process.

    python benchmarks/step_overhead.py [--steps 20] [--gradient_checkpointing] [--all_supervised]

A step is forward, backward, selection, clipping and AdamW. The refresh of the references is not part of it. On a CPU
TRL scores prompts too, which DualSelect leaves out; `--all_supervised` leaves neither anything to skip. Prints the
median of the paired ratios last.
"""

import argparse
import random
import statistics
import tempfile
import time

import torch
from datasets import Dataset
from peft import LoraConfig
from tqdm import tqdm
from trl import SFTConfig, SFTTrainer

from dualselect import DualSelectConfig, DualSelectTrainer, load_model
from dualselect.training.preparation import ROW


def random_rows(count: int, longest: int, vocabulary: int, seed: int, *, supervised: float = 0.5) -> Dataset:
    """Rows of random tokens, a share of them supervised."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        ids = [chance.randrange(100, vocabulary) for _ in range(chance.randint(longest // 2, longest))]
        prompt = round(len(ids) * (1 - supervised))
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return Dataset.from_list(rows)


def settings(options: argparse.Namespace, folder: str) -> dict:
    """Settings of both trainers."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": options.batch_size,
        "gradient_checkpointing": options.gradient_checkpointing,
        "bf16": options.bf16,
        "use_cpu": not torch.cuda.is_available(),
        "learning_rate": 1e-5,
        "report_to": "none",
        "disable_tqdm": True,
    }


def one_step(trainer: SFTTrainer, rows: list[dict]) -> float:
    """One optimizer step as in the training loop; returns its seconds."""
    start = _seconds()
    batch = trainer.data_collator(rows)
    supervised = (batch["labels"][:, 1:] != -100).sum()
    trainer.training_step(trainer.model, batch, supervised)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()
    trainer.model.zero_grad()
    trainer.state.global_step += 1
    return _seconds() - start


def _seconds() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--steps", type=int, default=20, help="measured steps of each trainer, after two not counted")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens of the longest row")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--all_supervised", action="store_true", help="every token is supervised")
    options = parser.parse_args()
    trainers = []
    with tempfile.TemporaryDirectory() as folder:
        for dual in (False, True):
            model, tokenizer = load_model(options.model)
            supervised = 1.0 if options.all_supervised else 0.5
            rows = random_rows(64, options.length, model.config.vocab_size, seed=0, supervised=supervised)
            lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "v_proj"])
            common = {"train_dataset": rows, "processing_class": tokenizer, "peft_config": lora}
            if dual:
                args = DualSelectConfig(**settings(options, folder), selection_warmup_steps=0)
                references = random_rows(16, options.length, model.config.vocab_size, seed=1)
                trainer = DualSelectTrainer(model, args, reference_dataset=references, **common)
            else:
                trainer = SFTTrainer(model, SFTConfig(**settings(options, folder)), **common)
            if options.gradient_checkpointing:
                trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
            if dual:  # as `train` begins
                trainer._loop.warmup_steps, trainer._storage = 0, "device"
                trainer._examples = trainer._no_examples()
            trainer.create_optimizer()
            trainer.model.train()
            trainers.append(trainer)
        times: list[tuple[float, float]] = []
        for step in tqdm(range(options.steps + 2), unit="pair"):
            place = step * options.batch_size % 64
            pair = []
            for trainer in trainers:
                columns = [name for name in trainer.train_dataset.column_names if name in ("input_ids", "labels", ROW)]
                batch = list(
                    trainer.train_dataset.select_columns(columns).select(range(place, place + options.batch_size))
                )
                pair.append(one_step(trainer, batch))
            times.append((pair[0], pair[1]))
    measured = times[2:]
    sft, dual = (statistics.median(column) for column in zip(*measured, strict=True))
    ratios = sorted(ours / plain for plain, ours in measured)
    print(f"{options.model}, batch {options.batch_size}, up to {options.length} tokens, {len(measured)} steps of each")
    print(f"median TRL SFT step {sft:.3f} s, median DualSelect step {dual:.3f} s")
    print(f"paired ratios: lowest {ratios[0]:.3f}, highest {ratios[-1]:.3f}")
    print(f"ratio: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
