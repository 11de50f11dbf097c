"""Kill a training at random times, resume it, and compare what it leaves with a run that was never stopped.

    python benchmarks/endurance.py --kills 50

Chains of up to 5 kills; each link is a process that is ended by SIGKILL, continued with `--resume auto`. Prints how
many kills the adapter, the selection log, the metrics (but for clock times) and config.yaml came through unchanged,
and exits with 1 when one of them did not.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


CHAIN = 5
STEPS = 24
EXACT = ("adapter/adapter_model.safetensors", "selection.jsonl", "config.yaml")
CLOCK = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}<s>assistant\n{% endif %}"


def make_inputs(folder: Path) -> list[str]:
    """A tiny random model and rows; the command of the run without its output_dir."""
    specials = ["<pad>", "<s>", "</s>"]
    vocabulary = {token: number for number, token in enumerate([*specials, *pre_tokenizers.ByteLevel.alphabet()])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder / "model")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder / "model")
    task = [{"question": f"What is {n} plus 1?", "answer": f"It is {n + 1}."} for n in range(40)]
    safe = [{"prompt": f"How is bad thing {n} done?", "completion": "I cannot help with that."} for n in range(8)]
    for name, rows in (("task", task), ("safe", safe)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return (
        f"{sys.executable} -m dualselect.cli.main train --model_name_or_path {folder}/model --use_cpu --resume auto "
        f"--task_data {folder}/task.jsonl --reference_data {folder}/safe.jsonl --per_device_train_batch_size 4 "
        f"--selection_warmup_steps 2 --max_steps {STEPS} --save_steps 1 --save_total_limit 3 --logging_steps 3 "
        "--learning_rate 1e-2 --disable_tqdm true"
    ).split()


def run(command: list[str], output: Path, kill_after: float | None) -> float | None:
    """Start the run, and kill it.

    Args:
        command: Of `make_inputs`.
        output: The run directory.
        kill_after: Seconds after the start of the training at which the process is killed; None to let it end.

    Returns:
        Seconds of training; None when the process was killed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    before, began = written(output), None
    with (output.parent / f"{output.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--output_dir", str(output)], stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        while process.poll() is None:
            if began is None and written(output) != before:  # config.yaml is written when training begins
                began = time.monotonic()
            if began is not None and kill_after is not None and time.monotonic() - began > kill_after:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return None
            time.sleep(0.005)
    if process.returncode:
        raise SystemExit(f"the run failed with status {process.returncode}: {Path(log.name).read_text()[-2000:]}")
    return time.monotonic() - (began or time.monotonic())


def written(output: Path) -> int:
    """When config.yaml was written; 0 for never."""
    path = output / "config.yaml"
    return path.stat().st_mtime_ns if path.exists() else 0


def metrics(output: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without clock times."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


def differences(output: Path, whole: Path) -> list[str]:
    """The files of a run that are not those of the run that was never stopped."""
    names = [name for name in EXACT if (output / name).read_bytes() != (whole / name).read_bytes()]
    return names + ([] if metrics(output) == metrics(whole) else ["metrics.jsonl"])


def survive(folder: Path, kills: int, seed: int) -> int:
    """Kill and resume; the number of kills whose run ended as the whole one."""
    command, chance, survived = make_inputs(folder), random.Random(seed), 0
    whole = folder / "whole"
    seconds = run(command, whole, None)
    assert seconds is not None
    done = chain = 0
    while done < kills:
        output, chain, killed = folder / f"chain-{chain}", chain + 1, 0
        while killed < min(CHAIN, kills - done) and run(command, output, chance.uniform(0, 0.5) * seconds) is None:
            killed += 1
        run(command, output, None)
        done += killed
        different = differences(output, whole)
        survived += 0 if different else killed
        print(f"{output.name}: {killed} kills, {', '.join(different) or 'the same'}", flush=True)
    return survived


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        survived = survive(Path(folder), asked.kills, asked.seed)
    print(f"{survived} of {asked.kills}")
    return 0 if survived == asked.kills else 1


if __name__ == "__main__":
    sys.exit(main())
