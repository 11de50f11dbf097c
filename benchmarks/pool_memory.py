"""Peak memory of a run with a large reference pool against a small one, each in its own process.

    python benchmarks/pool_memory.py [--large 4096] [--small 64]

The model is small and random with a LoRA of 65,536 parameters; storing the gradients of 4,096 references would take
1 GiB. Prints the ratio of the peak resident memories last.
"""

import argparse
import random
import resource
import subprocess
import sys
import tempfile


def one_run(pool_size: int) -> None:
    """Train one step with one refresh over a pool, and print the peak resident memory in KiB."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from dualselect import DualSelectConfig, DualSelectTrainer

    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(1000)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", pad_token="w2")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1000,
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            eos_token_id=1,
            pad_token_id=2,
        )
    )
    chance = random.Random(0)

    def rows(count: int) -> Dataset:
        ids = [[chance.randrange(3, 1000) for _ in range(chance.randint(16, 32))] for _ in range(count)]
        return Dataset.from_dict({"input_ids": ids, "labels": ids})

    with tempfile.TemporaryDirectory() as folder:
        args = DualSelectConfig(
            folder,
            max_steps=3,
            selection_warmup_steps=1,
            per_device_train_batch_size=8,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
        )
        lora = LoraConfig(r=16, target_modules=["q_proj", "v_proj"])
        DualSelectTrainer(
            model,
            args,
            train_dataset=rows(32),
            reference_dataset=rows(pool_size),
            processing_class=tokenizer,
            peft_config=lora,
        ).train()
    print(f"peak_kib {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")


def peak_mib(pool_size: int) -> float:
    """Peak resident memory, in MiB, of a fresh process that uses a pool of this size."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(pool_size)], check=True, stdout=subprocess.PIPE, text=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("peak_kib"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=4096)
    parser.add_argument("--small", type=int, default=64)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one_run(options.one)
        return
    small, large = peak_mib(options.small), peak_mib(options.large)
    print(f"pool of {options.small}: {small:.0f} MiB; pool of {options.large}: {large:.0f} MiB")
    print(f"ratio: {large / small:.3f}")


if __name__ == "__main__":
    main()
