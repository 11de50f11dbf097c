"""Create the aligned start model of the benchmark by safety-tuning a small model.

    python benchmarks/safety_utility/start_model.py benchmark-runs/start
    python benchmarks/safety_utility/start_model.py benchmark-runs/start --heldout FOLDER_OF_DATA --max_length 256

Plain fine-tuning on refusals, harmless look-alikes and chat, merged into the weights, as in the demonstration;
`--data` uses other rows. `--heldout` uses rows that neither the built-in pool nor the calibration of the filter has:
330 refusals, 318 look-alikes and 126 chats of the built-in test split, and short instructions of self-instruct. A
folder that already holds a model is not changed.
"""

import argparse
import json
import random
import shutil
from pathlib import Path

from peft import PeftModel

from dualselect import load_rows
from dualselect.data import builtin_rows
from dualselect.demo import CHAT_TEMPLATE
from dualselect.methods import METHODS, fine_tune
from dualselect.models import EMBEDDED_MODEL, load_model


DATA = ["builtin:refusal:96", "builtin:lookalike:80", "builtin:chat:64"]


HELD_OUT = {"refusal": 330, "lookalike": 318, "chat": 126}
LONGEST = 700
"""Most characters of an instruction, as JSON."""


def heldout_rows(data: Path, file: Path) -> str:
    """Write the rows of `--heldout` and return the file."""
    rows = [row for kind, count in HELD_OUT.items() for row in builtin_rows(kind, count, seed=11, split="test")]
    found = [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
    for row in load_rows(f"{data}/instruct/selfinstruct_seed_tasks.jsonl[0:100]").dataset:
        if len(json.dumps(row["prompt"])) + len(json.dumps(row["completion"])) < LONGEST:
            found.append({"prompt": row["prompt"], "completion": row["completion"]})
    random.Random(0).shuffle(found)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return str(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=EMBEDDED_MODEL)
    parser.add_argument("--data", nargs="+", default=DATA, help="sources as for dualselect train --task_data")
    parser.add_argument("--heldout", type=Path, help="folder of real rows, in place of --data; see mixes.py")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--max_length", type=int, default=160)
    parser.add_argument("--own_template", action="store_true", help="keep the model's chat template, 27 tokens longer")
    options = parser.parse_args()
    if (options.folder / "config.json").exists():
        print(f"{options.folder}: made before, kept")
        return
    work = options.folder.with_name(f".{options.folder.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    model, tokenizer = load_model(options.model, dtype="float32")
    if not options.own_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    model.save_pretrained(work / "before")
    tokenizer.save_pretrained(work / "before")
    settings = {
        "model_name_or_path": str(work / "before"),
        "task_data": [heldout_rows(options.heldout, work / "rows.jsonl")] if options.heldout else options.data,
        "lora_target_modules": "all-linear",
        "lora_dropout": 0.0,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 1,
        "learning_rate": options.learning_rate,
        "max_length": options.max_length,
        "report_to": "none",
    }
    adapter = fine_tune(METHODS["sft"], settings, work / "run")
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(work / "after")
    tokenizer.save_pretrained(work / "after")
    options.folder.parent.mkdir(parents=True, exist_ok=True)
    (work / "after").rename(options.folder)
    shutil.rmtree(work)
    print(options.folder)


if __name__ == "__main__":
    main()
