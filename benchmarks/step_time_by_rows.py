"""Step time at 100,000 rows over step time at 1,000: the cost of a step must not grow with the data.

Two trainers of the same tiny model train in turns in one process, a block of optimizer steps each. A step is timed
from its beginning to the beginning of the next one, so that sampling, collating, selection and logging count, in
processor time of the process: other processes of the machine change it little. The ratio is that of the medians over
alternating blocks. Exit status 1 above 1.03.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

from dualselect import DualSelectConfig, DualSelectTrainer


BOUND = 1.03
BLOCK = 6


class Turns(TrainerCallback):
    """Lets the trainers step in turns, a block of steps each, and times every step but the first of a block."""

    def __init__(self, own: threading.Semaphore, other: threading.Semaphore) -> None:
        self.own, self.other = own, other
        self.seconds: list[float] = []
        self._begun: float | None = None

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Wait for the first turn."""
        self.own.acquire()

    def on_step_begin(self, args: object, state: object, control: object, **_: object) -> None:
        """Time the step before, and end the turn after a block."""
        now = time.process_time()
        if self._begun is not None:
            self.seconds.append(now - self._begun)
        self._begun = now
        if state.global_step and state.global_step % BLOCK == 0:
            self.other.release()
            self.own.acquire()
            self._begun = None  # the first step after a turn finds cold caches

    def blocks(self) -> list[float]:
        """The median step of each turn, in seconds."""
        size = BLOCK - 1
        return [statistics.median(self.seconds[at : at + size]) for at in range(0, len(self.seconds) - size + 1, size)]

    def on_train_end(self, *_: object, **__: object) -> None:
        """Leave the rest to the other trainer."""
        self.other.release()


def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token."""
    alphabet = ["<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = Tokenizer(models.BPE({word: place for place, word in enumerate(alphabet)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        chat_template="{% for message in messages %}{{ message.role }}: {{ message.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
    )


def rows(count: int, name: str) -> Dataset:
    """Conversations of one length, with an id, a kind and a category."""
    return Dataset.from_dict(
        {
            "id": [f"{name}{number}" for number in range(count)],
            "kind": ["task"] * count,
            "category": [f"category {number % 7}" for number in range(count)],
            "prompt": [[{"role": "user", "content": f"{name} {number:08d}?"}] for number in range(count)],
            "completion": [[{"role": "assistant", "content": f"It is {number:08d}."}] for number in range(count)],
        }
    )


def trainer(count: int, steps: int, folder: Path, turns: Turns) -> DualSelectTrainer:
    """A trainer of a tiny Llama on `count` rows."""
    words = tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            pad_token_id=0,
        )
    )
    config = DualSelectConfig(
        str(folder / str(count)),
        max_steps=steps,
        selection_warmup_steps=2,
        reference_refresh_steps=10 * steps,
        reference_refresh="steps",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        gradient_checkpointing=False,
        token_cache=False,
        logging_steps=10,
        task_token_budget=0.9,  # the rows have no prompts, which a contrast needs
        reference_contrast="none",
    )
    return DualSelectTrainer(
        model,
        config,
        train_dataset=rows(count, "task"),
        reference_dataset=rows(32, "reference"),
        processing_class=words,
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
        callbacks=[turns],
    )


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    gates = [threading.Semaphore(1), threading.Semaphore(0)]
    turns = [Turns(gates[0], gates[1]), Turns(gates[1], gates[0])]
    with tempfile.TemporaryDirectory() as folder:
        trainers = [
            trainer(count, arguments.steps, Path(folder), turn)
            for count, turn in zip((arguments.few, arguments.many), turns, strict=True)
        ]
        threads = [threading.Thread(target=one.train) for one in trainers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # the blocks alternate, so both medians see the same load of the machine
    few, many = (statistics.median(turn.blocks()[2:]) for turn in turns)
    ratio = many / few
    print(f"{arguments.few:,} rows: {few * 1e3:.2f} ms a step; {arguments.many:,} rows: {many * 1e3:.2f} ms a step")
    print(f"step time at {arguments.many:,} rows / at {arguments.few:,} rows: {ratio:.3f} (bound {BOUND})")
    return int(ratio > BOUND)


if __name__ == "__main__":
    sys.exit(main())
