"""Peak memory of an audit of many rows against one of few rows, each in its own process.

    python benchmarks/audit_memory.py --few 2000 --many 1000000

The rows are generated JSONL and the model is one small random layer, so that the result is the memory of the audit,
not of a model. Prints peak resident memory, bytes per additional row, rows per second, and last the ratio.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def write_rows(path: Path, count: int) -> None:
    """Write generated questions and answers of three kinds."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            kind = ("task", "chat", "lookalike")[number % 3]
            row = {
                "id": f"row-{number}",
                "kind": kind,
                "prompt": f"w{number % 97} w{number % 89}",
                "completion": "w5 w6",
            }
            file.write(json.dumps(row) + "\n")


def one_audit(count: int) -> dict[str, float]:
    """Audit a number of rows; returns peak resident memory in KiB and rows per second."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from dualselect import DualSelectConfig
    from dualselect.auditing import AuditSettings, TaskRows, audit_into

    torch.manual_seed(0)
    torch.set_num_threads(1)  # the products are too small to be shared
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(100)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", pad_token="w2")
    tokenizer.chat_template = "{% for turn in messages %}w3 {{ turn.content }} w1 {% endfor %}"
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=100, eos_token_id=1, pad_token_id=2, **sizes))
    pool = [{"prompt": f"w98 w{number}", "completion": "w8 w9", "category": f"c{number % 4}"} for number in range(20)]
    calm = [{"prompt": f"w99 w{number}", "completion": "w11"} for number in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows(file, count)
        config = DualSelectConfig(
            folder,
            reference_contrast="compliance",
            selection_warmup_steps=2,
            reference_batch_size=64,
            gradient_checkpointing=False,
            report_to="none",
            use_cpu=True,
        )
        started = time.monotonic()
        audit_into(
            Path(folder) / "audit",
            model,
            tokenizer,
            TaskRows([str(file)]),
            Dataset.from_list(pool),
            AuditSettings(),
            config,
            harmless=Dataset.from_list(calm),
            peft_config=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_kib": peak, "rows_per_second": count / (time.monotonic() - started)}


def measured(count: int) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--one", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("measured "))
    found: dict[str, float] = json.loads(line.removeprefix("measured "))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=2000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print("measured " + json.dumps(one_audit(options.one)))
        return
    few, many = measured(options.few), measured(options.many)
    for count, found in ((options.few, few), (options.many, many)):
        print(f"{count:,} rows: {found['peak_kib'] / 1024:.0f} MiB, {found['rows_per_second']:.0f} rows per second")
    bytes_a_row = 1024 * (many["peak_kib"] - few["peak_kib"]) / (options.many - options.few)
    print(f"bytes for each further row: {bytes_a_row:.0f}")
    print(f"ratio: {many['peak_kib'] / few['peak_kib']:.3f}")


if __name__ == "__main__":
    main()
