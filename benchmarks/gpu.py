"""One file for a machine with a GPU and without a network: time and memory at the shapes of real models.

    python benchmarks/gpu.py [--output runs/gpu] [--models gemma-3-1b qwen3-4b llama-3-8b]

Models are built from their shapes with random weights, bfloat16, LoRA of rank 16 on all linear layers; rows are
random tokens. For each model: a DualSelect step against a step of TRL SFT, peak memory, a refresh per reference,
gradients kept (`device`) against `recompute`, padded against packed rows, and 4 bits if bitsandbytes is installed.
Each part is a process of its own and is written at once: an interrupted command goes on where it stopped, and a part
that fails is told and repeated by the next command. All parts should take under eight minutes on one data-center GPU.
`--models tiny --use_cpu` tries everything on a CPU. The last line is the largest ratio of a step to a TRL SFT step.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import (
    ALL_LINEAR,
    dualselect_trainer,
    lora,
    machine,
    mixed_lengths,
    random_rows,
    seconds,
    sft_trainer,
    timed_steps,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    BitsAndBytesConfig,
    Gemma3TextConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    set_seed,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM


WORDS = 1000
CONFIGS: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "tiny": (
        LlamaConfig,
        {"vocab_size": WORDS, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2},
    ),
    "gemma-3-1b": (
        Gemma3TextConfig,
        {"vocab_size": 262_144, "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
         "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "sliding_window": 512},
    ),
    "qwen3-4b": (
        Qwen3Config,
        {"vocab_size": 151_936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
         "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True},
    ),
    "llama-3-8b": (
        LlamaConfig,
        {"vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 500_000.0},
    ),
}  # fmt: skip
PARTS: dict[str, dict[str, Any]] = {
    "sft": {"plain": True},
    "device": {"gradient_storage": "device"},
    "recompute": {"gradient_storage": "recompute"},
    "packed": {"gradient_storage": "device", "packing": True, "per_device_train_batch_size": 2},
    "sft 4 bits": {"plain": True, "four_bits": True},
    "device 4 bits": {"gradient_storage": "device", "four_bits": True},
}
UNTIMED = 3


def built(name: str, *, four_bits: bool, cpu: bool) -> tuple[Any, Any]:
    """A model of random weights and a tokenizer of meaningless words."""
    kind, shape = CONFIGS[name]
    words = Tokenizer(WordLevel({f"w{number}": number for number in range(WORDS)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", pad_token="w2")
    config = kind(**shape, eos_token_id=1, pad_token_id=2, bos_token_id=None)
    config.architectures = None
    dtype = torch.float32 if cpu else torch.bfloat16
    with torch.device("cpu" if cpu else "cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if not four_bits:
        return model, tokenizer
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        del model
        torch.cuda.empty_cache()
        quantized = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantized, dtype=dtype)
    return model, tokenizer


def measured(name: str, part: str, *, steps: int, length: int, cpu: bool) -> dict[str, Any]:
    """Median seconds of a step, seconds per token, seconds of a refresh per reference, and peak memory."""
    set_seed(0)
    settings = dict(PARTS[part])
    plain, four_bits = settings.pop("plain", False), settings.pop("four_bits", False)
    model = built(name, four_bits=four_bits, cpu=cpu)
    count = UNTIMED + steps
    rows = mixed_lengths(8 * count * (4 if settings.get("packing") else 1), length // 2, length)
    task, pool = random_rows(rows), random_rows(mixed_lengths(16, length // 2, length, seed=1), seed=1)
    common = {
        "max_steps": count,
        "max_length": length,
        "bf16": not cpu,
        "adapter": lora(16, ALL_LINEAR),
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    } | settings
    refreshes: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        if plain:
            trainer: Any = sft_trainer(model, folder, task, **common)
        else:
            every = {"reference_refresh": "steps", "reference_refresh_steps": 2, "selection_warmup_steps": 1}
            trainer = dualselect_trainer(model, folder, task, pool, **every, **common)
            refresh = trainer._refresh

            def timed(model: Any) -> None:
                begun = seconds()
                refresh(model)
                refreshes.append(seconds() - begun)

            trainer._refresh = timed
        seconds_of_step = timed_steps(trainer)
        lines = [] if plain else [line for line in trainer.selection_log.read() if line["event"] == "step"]
    refreshed = {number for number in range(count) if not plain and number % 2 == 1}  # after one step, then every two
    measured_steps = [number for number in range(UNTIMED, count) if number not in refreshed]
    tokens = {line["step"] - 1: sum(line["tokens"]) for line in lines}
    taken = [seconds_of_step[number] for number in measured_steps]
    return {
        "step_seconds": statistics.median(taken),
        "tokens_per_second": None if plain else sum(tokens[number] for number in measured_steps) / sum(taken),
        "refresh_seconds_per_reference": statistics.median(refreshes) / 16 if refreshes else None,
        "peak_bytes": None if cpu else torch.cuda.max_memory_allocated(),
    }


def main() -> int:
    """Run every part that is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["gemma-3-1b", "qwen3-4b", "llama-3-8b"], choices=[*CONFIGS])
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="folder of results (%(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each part (%(default)s)")
    parser.add_argument("--length", type=int, default=512, help="tokens of the longest row (%(default)s)")
    parser.add_argument("--use_cpu", action="store_true")
    parser.add_argument("--part", nargs=2, metavar=("MODEL", "PART"), help="one part, in this process")
    options = parser.parse_args()
    if not options.use_cpu and not torch.cuda.is_available():
        print(
            "error: no GPU was found: run this on a machine with one, or try --models tiny --use_cpu", file=sys.stderr
        )
        return 2
    if options.part:
        found = measured(*options.part, steps=options.steps, length=options.length, cpu=options.use_cpu)
        print(json.dumps(found | {"machine": machine()}))
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    parts = [part for part in PARTS if "4 bits" not in part or has_bitsandbytes(cpu=options.use_cpu)]
    failed = [f"{model}, {part}" for model in options.models for part in parts if not run_part(options, model, part)]
    ratios = [ratio for model in options.models for ratio in told(options.output, model, parts)]
    for one in failed:
        print(f"failed: {one} (its messages are above)")
    if ratios:
        print(f"largest ratio of a step to a step of TRL SFT: {max(ratios):.3f}")
    return int(bool(failed))


def run_part(options: argparse.Namespace, model: str, part: str) -> bool:
    """Measure a part in its own process, unless its result is there; False if it fails."""
    result = options.output / f"{model}, {part}.json"
    if result.exists():
        return True
    command = [sys.executable, __file__, "--part", model, part, "--steps", str(options.steps)]
    command += ["--length", str(options.length), *(["--use_cpu"] if options.use_cpu else [])]
    print(f"{model}, {part} ...", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return False
    result.write_text(done.stdout.splitlines()[-1] + "\n", encoding="utf-8")
    return True


def told(folder: Path, model: str, parts: list[str]) -> list[float]:
    """Print the table of a model; the ratios of its steps to those of TRL SFT."""
    found = {
        part: json.loads(path.read_text(encoding="utf-8"))
        for part in parts
        if (path := folder / f"{model}, {part}.json").exists()
    }
    ratios = []
    for part, one in found.items():
        plain = found.get("sft 4 bits" if "4 bits" in part else "sft")
        comparable = plain is not None and not part.startswith("sft") and part != "packed"
        text = f"{model:12} {part:14} step {one['step_seconds']:7.3f} s"
        if comparable:
            assert plain is not None
            ratios.append(one["step_seconds"] / plain["step_seconds"])
            text += f", {ratios[-1]:.3f} of TRL SFT"
        if one["tokens_per_second"]:
            text += f", {one['tokens_per_second']:,.0f} tokens/s"
        if one["refresh_seconds_per_reference"]:
            text += f", refresh {one['refresh_seconds_per_reference'] * 1e3:.0f} ms per reference"
        if one["peak_bytes"]:
            text += f", peak {one['peak_bytes'] / 2**30:.1f} GiB"
        print(text)
    return ratios


def has_bitsandbytes(*, cpu: bool) -> bool:
    """Whether 4-bit weights can be tried."""
    return not cpu and importlib.util.find_spec("bitsandbytes") is not None


if __name__ == "__main__":
    sys.exit(main())
