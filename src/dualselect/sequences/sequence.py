"""Learn the tasks of a sequence one after the other, by several methods, in several orders.

    OUTPUT/runs/METHOD/order-K/seed-S/NN-TASK/    a run directory for each task
    OUTPUT/runs/METHOD/order-K/seed-S/memory/NN/  the memory that this task replays
    OUTPUT/runs/alone/seed-S/TASK/                each task learned alone
    OUTPUT/continual.json                         the results

A task that is learned and evaluated is not done again, so the same command continues a sequence that was cut off, and
a sequence with more tasks at its end continues a finished one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from dualselect.data import as_conversations, tokenize
from dualselect.data.token_columns import supervised_counts
from dualselect.data.tokens import IGNORED_LABEL
from dualselect.errors import ConfigError
from dualselect.evaluation import evaluate
from dualselect.evaluation.likelihood import log_likelihoods
from dualselect.evaluation.local_model import find_model, load_local_model
from dualselect.methods import METHODS, Method, fine_tune
from dualselect.methods.memory import STATE_FILE
from dualselect.sequences.config import SequenceConfig, SequenceMethod
from dualselect.sequences.memory import (
    LOSSES_FILE,
    MEMORY_FILE,
    SAFETY,
    MemoryRow,
    read_memory,
    updated,
    with_scores,
    write_memory,
)
from dualselect.sequences.results import RESULTS_FILE, evaluation_path, write_results
from dualselect.sequences.tasks import Task, load_tasks, safety_rows, safety_suites
from dualselect.system.files import refuse_foreign, write_json
from dualselect.system.lock import folder_lock
from dualselect.training.selection_log import SelectionLog


INPUTS_FILE = "inputs.json"
"""What the finished runs of a folder were made from."""
LOSS_BATCH = 8
"""Rows of a forward pass that measures the losses of new memory rows."""


@dataclass(frozen=True)
class _Sequences:
    config: SequenceConfig
    tasks: dict[str, Task]
    safe: list[dict[str, Any]]
    tell: Callable[[str], None]

    def run(self, method: SequenceMethod, order: Sequence[str], number: int, seed: int) -> None:
        """One method in one order with one seed."""
        folder = self.config.folder / "runs" / method.name / f"order-{number}" / f"seed-{seed}"
        if method.joint:
            self._learn(method, list(order), folder / "joint", seed, [], None)
            return
        earlier: list[Path] = []
        memory: list[MemoryRow] = self._safety()
        for place, name in enumerate(order):
            stage, kept = folder / f"{place + 1:02}-{name}", folder / "memory" / f"{place + 1:02}"
            if method.method.needs_pool and memory:
                if not (kept / MEMORY_FILE).exists():
                    write_memory(kept, memory)
                memory = read_memory(kept)
            self.tell(f"{method.name}, order {number}, seed {seed}: task {place + 1} of {len(order)}, {name}")
            self._learn(method, [name], stage, seed, earlier, kept if memory else None)
            earlier.append(stage)
            if method.method.needs_pool and place + 1 < len(order):
                following = folder / "memory" / f"{place + 2:02}"
                if not (following / MEMORY_FILE).exists():
                    write_memory(following, self._memory_after(stage, memory, self.tasks[name], place, seed))
                memory = read_memory(following)

    def alone(self, name: str, seed: int) -> None:
        """One task alone, from the start model."""
        self.tell(f"{name} alone, seed {seed}")
        plain = SequenceMethod("alone", METHODS["sft"])
        self._learn(plain, [name], self.config.folder / "runs" / "alone" / f"seed-{seed}" / name, seed, [], None)

    def evaluate(self, model: str | Path, output: Path) -> None:
        """Evaluate a model on all tasks and on safety; a task that was added later is added to the evaluation."""
        suites = [*(task.suite for task in self.tasks.values()), *safety_suites(self.config)]
        if output.exists():
            found = {row["suite"] for row in json.loads(output.read_text(encoding="utf-8"))["summary"]}
            if found >= {suite.name for suite in suites}:
                return
        settings = {name: self.config.settings[name] for name in ("dtype",) if name in self.config.settings}
        evaluate(
            model,
            suites,
            output=output,
            generation=self.config.generation,
            model_settings=settings or None,
        )

    def _learn(
        self,
        method: SequenceMethod,
        names: list[str],
        stage: Path,
        seed: int,
        earlier: Sequence[Path],
        kept: Path | None,
    ) -> None:
        settings: dict[str, Any] = {"report_to": "none", **self.config.settings}
        for name in names:
            settings |= self.tasks[name].settings
        settings |= {"task_data": [str(self.tasks[name].file) for name in names], "seed": seed}
        if earlier and method.adapter == "continued":
            settings["start_adapter"] = str(earlier[-1])
        elif earlier:
            settings["merged_adapters"] = [str(folder) for folder in earlier]
        one: Method = METHODS["sft"]
        if not method.method.needs_pool or kept is not None:
            one = replace(method.method, **self._continuing(method.method, earlier))
            settings |= method.settings
        if kept is not None and method.method.needs_pool:
            settings["reference_data"] = [str(kept / MEMORY_FILE)]
            if method.method.name == "dualselect":
                settings |= {"reference_losses": str(kept / LOSSES_FILE), "allow_prompt_overlap": True}
        fine_tune(one, settings, stage)
        self.evaluate(stage, evaluation_path(stage))

    @staticmethod
    def _continuing(method: Method, earlier: Sequence[Path]) -> dict[str, Any]:
        """The earlier run whose state a method continues."""
        if "earlier_run" in method.setting_names and earlier and (earlier[-1] / STATE_FILE).exists():
            return {"earlier_run": str(earlier[-1])}
        return {}

    def _safety(self) -> list[MemoryRow]:
        return [MemoryRow(f"{SAFETY}/{row['id']}", SAFETY, row["prompt"], row["completion"], 0) for row in self.safe]

    def _memory_after(
        self, stage: Path, memory: Sequence[MemoryRow], task: Task, seen: int, seed: int
    ) -> list[MemoryRow]:
        """The memory when a task has been learned, with the loss of its rows at this time."""
        selection = SelectionLog(stage)
        if selection.path.exists():
            memory = with_scores(memory, selection.read())
        model, tokenizer = load_local_model(find_model(str(stage)))
        max_length = self.config.settings.get("max_length") or 1024
        prepared = tokenize(as_conversations(Dataset.from_list(task.rows), name=task.name), tokenizer,
                            max_length=max_length, name=task.name).dataset  # fmt: skip
        counts = supervised_counts(prepared, IGNORED_LABEL)
        rows = {}
        for place, index in enumerate(prepared["row_index"]):
            row = task.rows[index]
            name = f"{task.name}/{row['id']}"
            rows[name] = (
                MemoryRow(name, task.name, row["prompt"], row["completion"], int(counts[place])),
                place,
            )
        safe = [row for row in memory if row.kind == SAFETY]
        chosen = updated(memory, [row for row, _ in rows.values()], seen, self.config.memory, seed)
        new = [row.id for row in chosen if row.id in rows]
        losses: dict[str, float] = {}
        admitted = prepared.select([rows[name][1] for name in new]).select_columns(["input_ids", "labels"])
        for batch in log_likelihoods(model, admitted, batch_size=LOSS_BATCH) if new else ():
            losses |= {new[number]: -total / tokens for number, (total, tokens) in batch.items()}
        return safe + [replace(row, learned_loss=losses.get(row.id, row.learned_loss)) for row in chosen]


def learn_sequence(config: SequenceConfig, tell: Callable[[str], None] = print) -> Path:
    """Learn the sequence by every method, in every order, with every seed, and write the results.

    Args:
        config: The sequence.
        tell: Called with a line at the start of each task.

    Returns:
        The results, `continual.json`.

    Raises:
        DualSelectError: Something cannot be used; before any training where possible.
        KeyboardInterrupt: A signal ended a run; the same call continues.
    """
    with folder_lock(config.folder):
        refuse_foreign(config.folder, ("runs", "tasks", RESULTS_FILE), marks=(INPUTS_FILE,))
        tasks, safe = load_tasks(config), safety_rows(config)
        _same_inputs(config, tasks, safe)
        work = _Sequences(config, tasks, safe, tell)
        work.evaluate(config.model, config.folder / "runs" / "start.json")
        for seed in config.seeds:
            for number, order in enumerate(config.orders):
                for method in config.methods:
                    work.run(method, order, number, seed)
            if config.alone:
                for name in tasks:
                    work.alone(name, seed)
        return write_results(config)


def _same_inputs(config: SequenceConfig, tasks: Mapping[str, Task], safe: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to mix results of other rows or settings; tasks may be added behind the last one of an order.

    Raises:
        ConfigError: Something changed; the message names it.
    """
    path = config.folder / INPUTS_FILE
    now = {
        "model": config.model,
        "settings": json.loads(json.dumps(config.settings, default=str)),
        "memory": vars(config.memory),
        "safe responses": len(safe),
        "evaluation prompts": config.limit,
        **{
            f"rows of task {name}": [[row["id"] for row in task.rows], len(task.suite.prompts), task.settings]
            for name, task in tasks.items()
        },
        **{f"order {number}": order for number, order in enumerate(config.orders)},
        **{f"method {one.name}": repr(one) for one in config.methods},
    }
    now = json.loads(json.dumps(now, default=str))
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, value in before.items():
        same = now.get(name, value) == value
        if name.startswith("order ") and name in now:
            same = now[name][: len(value)] == value
        if not same:
            raise ConfigError(
                f"{config.folder} holds results of other inputs ({name} changed): restore it, or choose another "
                "output_dir"
            )
    write_json(path, before | now)
