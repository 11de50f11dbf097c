"""Create the aligned start model of the benchmark by safety-tuning a small model.

    python benchmarks/safety_utility/start_model.py benchmark-runs/start

Plain fine-tuning on refusals, harmless look-alikes and chat, merged into the weights, as in the demonstration;
`--data` uses other rows. A folder that already holds a model is not changed.
"""

import argparse
import shutil
from pathlib import Path

from peft import PeftModel

from dualselect.demo import CHAT_TEMPLATE
from dualselect.methods import METHODS, fine_tune
from dualselect.models import EMBEDDED_MODEL, load_model


DATA = ["builtin:refusal:96", "builtin:lookalike:80", "builtin:chat:64"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=EMBEDDED_MODEL)
    parser.add_argument("--data", nargs="+", default=DATA, help="sources as for dualselect train --task_data")
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
        "task_data": options.data,
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
