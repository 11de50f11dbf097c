"""One audit as a process of its own, that kills itself in the middle of a write: FOLDER ROWS KILL_AT (0: never)."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import conftest  # noqa: F401 - no hub, one thread
from datasets import Dataset
from models_for_tests import tiny_model
from peft import LoraConfig
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig
from dualselect.auditing import AuditSettings, TaskRows, audit_into, pool
from dualselect.auditing.store import ScoreStore


pool.FILTER_ROWS = 24


def main(folder: Path, count: int, kill_at: int) -> None:
    """Audit generated rows, a ninth of them risky."""
    append, calls = ScoreStore.append, []

    def killed_in_the_middle(self: ScoreStore, lines: Sequence[Any]) -> None:
        append(self, lines)
        calls.append(lines)
        if len(calls) == kill_at:
            os.truncate(self.path, self.path.stat().st_size - 200)
            os.kill(os.getpid(), signal.SIGKILL)

    if kill_at:
        ScoreStore.append = killed_in_the_middle
    rows = [
        {
            "id": f"t{n}",
            "kind": "task" if n % 9 else "risky",
            "prompt": f"is {n} it",
            "completion": "the answer " * (1 + n % 4),
        }
        for n in range(count)
    ]
    pool = [
        {"id": f"s{n}", "prompt": f"help {n}", "completion": "I cannot", "category": f"c{n % 2}"} for n in range(8)
    ]
    calm = [{"prompt": f"box {n}", "completion": "train"} for n in range(4)]
    tokenizer = chatml_tokenizer()
    config = DualSelectConfig(
        str(folder),
        reference_contrast="compliance",
        selection_warmup_steps=2,
        max_length=256,
        harmless_drop_rate=0.1,
        learning_rate=1e-2,
        reference_batch_size=16,
        disable_tqdm=True,
        report_to="none",
        use_cpu=True,
    )
    audit_into(
        folder,
        tiny_model("llama", len(tokenizer)),
        tokenizer,
        TaskRows.of(Dataset.from_list(rows)),
        Dataset.from_list(pool),
        AuditSettings(),
        config,
        harmless=Dataset.from_list(calm),
        peft_config=LoraConfig(r=2, target_modules=["q_proj"]),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
