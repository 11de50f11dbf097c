"""Peak memory over the size of the pool, over rows per step, and over the LoRA rank, each run in its own process.

    python benchmarks/memory.py

Parts: `pool`, 64 references against 4,096; `rows`, 8 rows per step against 64, in micro-batches of 8, with
`gradient_storage: recompute`; `rank`, what DualSelect takes beyond plain TRL SFT at LoRA rank 4 and at 64 (all linear
layers, `recompute`), relative to the peak of plain SFT. Pool and rows use the small random model below, so that memory
that grows would be seen; the rank uses `--model`. On a CPU the peak is the resident memory of the process, on a GPU
that of its tensors. The last line is the largest ratio.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import (
    ALL_LINEAR,
    ATTENTION,
    dualselect_trainer,
    lora,
    options_of,
    random_rows,
    random_rows_on_disk,
    sft_trainer,
    write_result,
)


BOUND = 1.05
TINY = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}


def small_model(folder: Path) -> str:
    """A random Llama with a LoRA of 65,536 parameters at rank 16: gradients of 4,096 rows would take 1 GiB."""
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(1000)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", pad_token="w2").save_pretrained(folder)
    config = LlamaConfig(vocab_size=1000, eos_token_id=1, pad_token_id=2, **TINY)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def one_run(model: str, case: dict[str, Any]) -> None:
    """Train a few steps with one refresh, and print the peak memory in bytes."""
    modules = ALL_LINEAR if case.get("all_linear") else ATTENTION
    adapter = lora(case.get("rank", 16), modules)
    longest = case.get("length", 32)
    lengths = [longest // 2 + number % (longest // 2 + 1) for number in range(128)]
    task = random_rows(lengths)
    settings = {
        "max_steps": 3,
        "gradient_accumulation_steps": case.get("rows", 8) // 8,
        "gradient_checkpointing": bool(case.get("checkpointing")),
    }
    with tempfile.TemporaryDirectory() as folder:
        if case.get("plain"):
            trainer: Any = sft_trainer(model, folder, task, adapter=adapter, **settings)
        else:
            pool = random_rows_on_disk((lengths * 32)[: case.get("pool", 64)], folder, seed=1)
            settings |= {"selection_warmup_steps": 1, "gradient_storage": case.get("storage", "auto")}
            trainer = dualselect_trainer(model, folder, task, pool, adapter=adapter, **settings)
        trainer.train()
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(f"peak_bytes {peak}")


def peak_mib(model: str, **case: Any) -> float:
    """Peak memory of a fresh process, in MiB."""
    command = [sys.executable, __file__, "--model", model, "--case", json.dumps(case)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("peak_bytes"))
    return int(line.split()[1]) / 2**20


def main() -> int:
    """Measure, print and judge."""
    parser = options_of(__doc__, large_pool=4096, many_rows=64, high_rank=64, length=64)
    parser.add_argument("--case", type=json.loads, default=None, help="one run (internal)")
    options = parser.parse_args()
    if options.case is not None:
        one_run(options.model, options.case)
        return 0
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        small = small_model(Path(folder))
        pools = [peak_mib(small, pool=size) for size in (64, options.large_pool)]
        figures["pool"] = {"mib": pools, "ratio": pools[1] / pools[0]}
        print(f"pool of 64: {pools[0]:.0f} MiB; of {options.large_pool}: {pools[1]:.0f} MiB")
        for storage in ("device", "recompute"):
            rows = [peak_mib(small, rows=count, storage=storage) for count in (8, options.many_rows)]
            figures[f"rows_{storage}"] = {"mib": rows, "ratio": rows[1] / rows[0]}
            print(f"{storage}, 8 rows per step: {rows[0]:.0f} MiB; {options.many_rows}: {rows[1]:.0f} MiB")
    excess = []
    for rank in (4, options.high_rank):
        case = {"rank": rank, "all_linear": True, "length": options.length, "checkpointing": True, "pool": 8}
        plain = peak_mib(options.model, plain=True, **case)
        ours = peak_mib(options.model, storage="recompute", **case)
        excess.append((ours - plain) / plain)
        print(f"rank {rank}, all linear layers: TRL SFT {plain:.0f} MiB, DualSelect {ours:.0f} MiB")
        figures[f"rank_{rank}"] = {"sft_mib": plain, "dualselect_mib": ours}
    figures["rank"] = {"excess": excess, "ratio": 1 + excess[1] - excess[0]}
    judged = {name: figures[name]["ratio"] for name in ("pool", "rows_recompute", "rank")}
    figures["bound"] = BOUND
    write_result(options, "memory", figures)
    for name, ratio in judged.items():
        print(f"{name}: {ratio:.3f} (bound {BOUND})")
    print(f"largest ratio: {max(judged.values()):.3f} (bound {BOUND})")
    return int(max(judged.values()) > BOUND)


if __name__ == "__main__":
    sys.exit(main())
