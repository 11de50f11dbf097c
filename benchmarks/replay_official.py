"""Replay recorded runs of the paper authors' training script through `DualSelectTrainer.train()`.

    python benchmarks/replay_official.py DIR...

Each DIR holds `settings.json`, `task.jsonl`, `reference.jsonl`, `init_adapter/`, `final_adapter.safetensors` and
`trace.json`; the model is in `tiny-llama/` next to it. The trainer runs in legacy mode (human_assistant text, the
published mask, cross-entropy preservation) over the recorded batches. Errors are relative to the largest recorded
value of the same quantity. Exit status 0 when every choice is the same and every error is at most 1e-4, else 1.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from dualselect import DualSelectConfig, DualSelectTrainer


TOLERANCE = 1e-4


class RecordedBatchesTrainer(DualSelectTrainer):
    """The trainer over given batches of kept rows, in order, instead of a shuffled data set."""

    def __init__(self, *args, batches: list[list[int]], **kwargs):
        super().__init__(*args, **kwargs)
        self._batches = batches

    def get_train_dataloader(self) -> DataLoader:
        """One pass over the recorded batches."""
        rows = self._remove_unused_columns(self.train_dataset)
        return DataLoader(rows, batch_sampler=self._batches, collate_fn=self.data_collator)


def read_rows(path: Path, settings: dict, tokenizer) -> Dataset:
    """Rows of a recorded run; tokenized here only when the prompt is supervised too, which no mask mode does."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not settings["with_prompt_token"]:
        return Dataset.from_list([{key: row[key] for key in ("id", "instruction", "output")} for row in rows])
    tokens = []
    for row in rows:
        text = f"Human: {row['instruction']}\nAssistant: {row['output']} {tokenizer.eos_token}"
        ids = tokenizer(text)["input_ids"][: settings["max_length"]]
        tokens.append({"id": row["id"], "input_ids": ids, "labels": ids})
    return Dataset.from_list(tokens)


def budgets(settings: dict) -> dict:
    """How many task rows of a step and how many references are kept; the script writes 0 for all."""
    task, references = settings["task_top_k"], settings["reference_top_k"]
    return {
        **({"task_top_k": task} if task else {"task_token_budget": "1.0"}),
        **({"reference_top_k": references} if references else {"reference_fraction": 1.0}),
    }


def configuration(settings: dict, trace: list[dict], output_dir: str) -> DualSelectConfig:
    """The recorded options in this project's names."""
    kinds = [event["kind"] for event in trace]
    refreshes = [
        sum(kind != "refresh" for kind in kinds[:place]) for place, kind in enumerate(kinds) if kind == "refresh"
    ]
    batches = sum(kind != "refresh" for kind in kinds)
    return DualSelectConfig(
        output_dir,
        prompt_format="human_assistant",
        mask_mode="legacy",
        allow_prompt_overlap=True,
        preservation_loss="ce",
        reference_contrast="none",
        reference_sides="one",
        selection_mode=settings["selection_mode"],
        selection_warmup_steps=settings["warmup_steps"],
        reference_refresh="steps",
        reference_refresh_steps=refreshes[1] - refreshes[0] if len(refreshes) > 1 else batches,
        task_budget_scope="step",
        **budgets(settings),
        reference_loss_weight=settings["mu_reference_loss"],
        task_loss_weight=settings["mu_task_loss"],
        conflict_weight=settings["nu_conflict"],
        reference_temperature=settings["reference_temperature"],
        task_temperature=settings["task_temperature"],
        rho=settings["correction_eta"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        max_length=settings["max_length"],
        max_steps=batches,
        per_device_train_batch_size=settings["train_batch_size"],
        seed=settings["seed"],
        bf16=settings["torch_dtype"] == "bfloat16",
        optim="adamw_torch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )


def train(folder: Path, trace: list[dict], output_dir: str) -> RecordedBatchesTrainer:
    """Run the recorded run again."""
    settings = json.loads((folder / "settings.json").read_text())
    model_folder = folder.resolve().parent / "tiny-llama"
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=getattr(torch, settings["torch_dtype"]))
    model = PeftModel.from_pretrained(model, folder / "init_adapter", is_trainable=True)
    references = read_rows(folder / "reference.jsonl", settings, tokenizer)
    if settings["reference_score_limit"] is not None:
        references = references.select(range(min(settings["reference_score_limit"], len(references))))
    trainer = RecordedBatchesTrainer(
        model,
        configuration(settings, trace, output_dir),
        train_dataset=read_rows(folder / "task.jsonl", settings, tokenizer),
        reference_dataset=references,
        processing_class=tokenizer,
        batches=[event["rows"] for event in trace if event["kind"] != "refresh"],
    )
    trainer.train()
    return trainer


def relative_error(found, expected) -> float:
    """Largest difference over the largest recorded value."""
    found, expected = torch.tensor(found).double(), torch.tensor(expected).double()
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12)).item()


def compare(trainer: RecordedBatchesTrainer, trace: list[dict], folder: Path) -> tuple[dict[str, float], int]:
    """Largest relative error of each quantity, and the number of steps and refreshes whose choice differs."""
    lines = [line for line in trainer.selection_log.read() if line["event"] != "end"]  # which the script has not
    errors = {"losses": 0.0, "cosines": 0.0, "weights": 0.0, "direction norms": 0.0}
    mismatched = abs(len(lines) - len(trace))

    def note(name: str, found, expected) -> None:
        errors[name] = max(errors[name], relative_error(found, expected))

    for event, line in zip(trace, lines, strict=False):
        note("losses", line["losses"], event["losses"])
        if event["kind"] == "warmup":
            continue
        note("cosines", line["cosines"], event["cosines"])
        is_step = event["kind"] == "step"
        rows = event["rows"] if is_step else range(len(line["kept"]))
        weights = {row: weight for row, kept, weight in zip(rows, line["kept"], line["weights"], strict=True) if kept}
        if set(weights) != set(event["selected"]):
            mismatched += 1
        else:
            total = sum(event["weights"])
            note("weights", [weights[row] for row in event["selected"]], [w / total for w in event["weights"]])
        ours, theirs = ("task_gradient_norm", "task_direction_norm") if is_step else 2 * ("reference_direction_norm",)
        note("direction norms", [line[ours]], [event[theirs]])
    final = load_file(folder / "final_adapter.safetensors")
    adapter = get_peft_model_state_dict(trainer.model)
    names = sorted(final)
    errors["final adapter"] = relative_error(
        torch.cat([adapter[name].flatten() for name in names]).tolist(),
        torch.cat([final[name].flatten() for name in names]).tolist(),
    )
    return errors, mismatched


def main() -> int:
    """Replay each folder and print one line per quantity."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a recorded run, beside tiny-llama/")
    transformers_logging.set_verbosity_error()
    same = True
    for folder in parser.parse_args().folders:
        trace = json.loads((folder / "trace.json").read_text())
        with tempfile.TemporaryDirectory() as output_dir:
            errors, mismatched = compare(train(folder, trace, output_dir), trace, folder)
        good = mismatched == 0 and max(errors.values()) <= TOLERANCE
        same &= good
        print(f"{folder}: {'same' if good else 'DIFFERENT'}")
        for name, error in errors.items():
            print(f"  max relative error of {name}: {error:.1e}")
        print(f"  mismatched choices: {mismatched} of {sum(event['kind'] != 'warmup' for event in trace)}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
