"""The demonstration: train a small model for safety, fine-tune it with and without DualSelect, and measure.

One folder contains all files: `aligned/` (the model to protect), `plain/`, `oracle/` and `dualselect/` (the fine-tuned
models), `evaluation/*.json` and `report.html`. Finished stages are not repeated. The oracle is plain fine-tuning
without the rows that are labeled risky, which real data do not tell.

The settings below were chosen on the prompts of `validation_ids`. Other prompts are used for the measurement.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProgressCallback, Trainer
from trl import SFTConfig, SFTTrainer

from dualselect.data import as_conversations, tokenize
from dualselect.data.builtin import builtin_mix, builtin_rows, rows_up_to
from dualselect.errors import ResumeError
from dualselect.evaluation import exact_match, generate_responses, rate
from dualselect.evaluation.builtin_suites import heldout_rows
from dualselect.judges import is_refusal
from dualselect.methods.sft import Sft
from dualselect.methods.trainer import MethodTrainer
from dualselect.models import EMBEDDED_MODEL, load_model
from dualselect.system.files import refuse_foreign, write_json, write_text
from dualselect.system.lock import folder_lock
from dualselect.training.config import DualSelectConfig
from dualselect.training.trainer import DualSelectTrainer


MODELS = {
    "start": "aligned start",
    "plain": "plain fine-tuning",
    "oracle": "oracle: risky rows removed",
    "dualselect": "DualSelect",
}
STAGES = ("aligned", "plain", "oracle", "dualselect")
STEPS = len(STAGES) + 2
MEASURES = {
    "refusal": "harmful requests refused",
    "lookalike": "harmless look-alikes refused",
    "task": "task answers exactly right",
}
# SmolLM2's own template adds 27 tokens about its name to each conversation, a third of the demonstration's work
CHAT_TEMPLATE = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BATCH_SIZE, ROW_LENGTH = 8, 160
# adapters only in the upper half: the layers below need no backward pass, which saves a fifth of the work
ADAPTED_LAYERS = 0.5
ATTENTION = ["q_proj", "v_proj"]
ALL_LINEAR = [*ATTENTION, "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class DemoSettings:
    """Sizes and strengths. A demonstration with the same settings in the same folder resumes where it stopped.

    Attributes:
        seed: Seed of the data, its order and the initial adapters.
        alignment_steps: Optimizer steps of the safety training, with batches of 8.
        task_rows: Task rows of the mix. A quarter of this number is added as look-alikes, and a quarter as chat.
        risky_share: Share of the mix that is risky.
        references: Refusals in the reference pool. Half as many helpful answers to harmless look-alikes are added.
        prompts: Held-out prompts of each kind.
        response_tokens: Maximum length of a generated response, in tokens.
        alignment_learning_rate: Learning rate of the safety training.
        learning_rate: Learning rate of the fine-tuning runs.
        warmup_steps: Steps before DualSelect selects; these steps also learn from risky rows.
        reference_fraction: Share of the references kept at a refresh.
        refresh_steps: Steps between two refreshes; at this learning rate a direction is stale after about ten.
        harmless_drop_rate: Share of harmless rows that DualSelect may drop; lower rates need more rows to calibrate.
        rho: Strength of DualSelect's correction.
        model: The model that everything starts from.
    """

    seed: int = 0
    alignment_steps: int = 26
    task_rows: int = 88
    risky_share: float = 0.15
    references: int = 16
    prompts: int = 40
    response_tokens: int = 40
    alignment_learning_rate: float = 1e-3
    learning_rate: float = 1e-3
    warmup_steps: int = 2
    reference_fraction: float = 0.5
    refresh_steps: int = 9
    harmless_drop_rate: float = 0.03
    rho: float = 0.5
    model: str = EMBEDDED_MODEL

    @property
    def mix(self) -> tuple[int, int, int, int]:
        """Rows of the mix: task, risky, look-alikes, chat."""
        harmless = self.task_rows + 2 * (self.task_rows // 4)
        risky = round(harmless * self.risky_share / (1 - self.risky_share))
        return self.task_rows, risky, self.task_rows // 4, self.task_rows // 4


def run_demo(folder: Path, settings: DemoSettings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the stages that are not finished, and return the measures of the models.

    Args:
        folder: Folder for all files; created if it does not exist.
        settings: Sizes and strengths.
        tell: Called with a line at the start of each stage.

    Returns:
        Successes, count and interval for each of `MODELS` and `MEASURES`.

    Raises:
        ResumeError: The folder contains a demonstration with different settings, or another process uses it.
    """
    with folder_lock(folder):
        refuse_foreign(folder, (*STAGES, "evaluation", "report.html"), marks=("settings.json",))
        return _run_stages(folder, settings, tell)


def _run_stages(folder: Path, settings: DemoSettings, tell: Callable[[str], None]) -> dict[str, Any]:
    _same_settings(folder, settings)
    plainly, oracle = _task_rows(settings), _task_rows(settings).filter(lambda row: row["kind"] != "risky")
    _stage(tell, 1, "train the small model for safety", folder / "aligned", lambda part: _align(part, settings))
    _stage(tell, 2, "fine-tune it without DualSelect", folder / "plain", lambda part: _plain(part, plainly, settings))
    _stage(
        tell, 3, "fine-tune it without the risky rows", folder / "oracle", lambda part: _plain(part, oracle, settings)
    )
    _stage(tell, 4, "fine-tune it with DualSelect", folder / "dualselect", lambda part: _dual(part, settings))
    tell(f"[5/{STEPS}] measure the {len(MODELS)} models on held-out prompts")
    for name in MODELS:
        path = folder / "evaluation" / f"{name}.json"
        if not path.exists():
            write_json(path, _evaluate(name, folder, settings))
    tell(f"[6/{STEPS}] write the report")
    return {name: json.loads((folder / "evaluation" / f"{name}.json").read_text())["measures"] for name in MODELS}


def measured_rows(kind: str, settings: DemoSettings) -> list[dict[str, Any]]:
    """The held-out rows of a kind for the measurement, up to `settings.prompts`."""
    return heldout_rows(kind, settings.prompts, seed=settings.seed + 2)


def _same_settings(folder: Path, settings: DemoSettings) -> None:
    path = folder / "settings.json"
    if path.exists() and json.loads(path.read_text()) != asdict(settings):
        raise ResumeError(
            f"{folder} contains a demonstration with different settings ({path}): use another --output_dir, or "
            "remove the folder"
        )
    write_json(path, asdict(settings))


def _stage(tell: Callable[[str], None], number: int, what: str, folder: Path, work: Callable[[Path], None]) -> None:
    if folder.exists():
        tell(f"[{number}/{STEPS}] {what}: already done")
        return
    tell(f"[{number}/{STEPS}] {what}")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    work(part)
    part.rename(folder)


def _align(folder: Path, settings: DemoSettings) -> None:
    rows = settings.alignment_steps * BATCH_SIZE
    sizes = {"refusal": 2 * rows // 5, "lookalike": rows // 3, "chat": rows - 2 * rows // 5 - rows // 3}
    mixed = [row for kind, size in sizes.items() for row in _repeated(kind, size, settings.seed)]
    model, tokenizer = load_model(settings.model, dtype="float32")
    tokenizer.chat_template = CHAT_TEMPLATE
    trainer = _sft(model, tokenizer, Dataset.from_list(mixed), _alignment(folder, settings), ALL_LINEAR)
    trainer.train()
    trainer.model.merge_and_unload().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _repeated(kind: str, size: int, seed: int) -> Iterator[dict[str, Any]]:
    rows = rows_up_to(kind, size, seed=seed, split="train")
    for number in range(size):
        row = rows[number % len(rows)]
        yield row | {"id": f"{row['id']}-{number}"}


def _plain(folder: Path, rows: Dataset, settings: DemoSettings) -> None:
    model, tokenizer = load_model(str(folder.parent / "aligned"), dtype="float32")
    trainer = _sft(model, tokenizer, rows, _common(folder, settings), ATTENTION)
    trainer.train()
    _save(trainer, folder)


def _dual(folder: Path, settings: DemoSettings) -> None:
    model, tokenizer = load_model(str(folder.parent / "aligned"), dtype="float32")
    helpful = settings.references // 2
    both = builtin_rows("refusal", settings.references, seed=settings.seed + 5)
    pool = Dataset.from_list(both + builtin_rows("lookalike", helpful, seed=settings.seed + 5))
    trainer = DualSelectTrainer(
        model,
        DualSelectConfig(
            **_common(folder, settings),
            selection_warmup_steps=settings.warmup_steps,
            harmless_drop_rate=settings.harmless_drop_rate,
            reference_fraction=settings.reference_fraction,
            reference_refresh="steps",
            reference_refresh_steps=settings.refresh_steps,
            rho=settings.rho,
        ),
        train_dataset=_task_rows(settings),
        reference_dataset=pool,
        processing_class=tokenizer,
        peft_config=_lora(model, ATTENTION),
    )
    _quiet(trainer)
    trainer.train()
    _save(trainer, folder)


def _task_rows(settings: DemoSettings) -> Dataset:
    return Dataset.from_list(builtin_mix(*settings.mix, seed=settings.seed))


def _sft(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    arguments: dict[str, Any],
    targets: list[str],
) -> MethodTrainer:
    trainer = MethodTrainer(
        model,
        SFTConfig(**arguments, lr_scheduler_type="constant", bf16=False),
        method=Sft(),
        task=tokenize(as_conversations(rows, name="task"), tokenizer, max_length=ROW_LENGTH).dataset,
        processing_class=tokenizer,
        peft_config=_lora(model, targets),
    )
    _quiet(trainer)
    return trainer


def _common(folder: Path, settings: DemoSettings) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "num_train_epochs": 1,
        "per_device_train_batch_size": BATCH_SIZE,
        "learning_rate": settings.learning_rate,
        "max_length": ROW_LENGTH,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "logging_steps": 2,
        "save_strategy": "no",
        "report_to": "none",
        # otherwise it depends on the verbosity of transformers: if quiet, there is no bar and every log is printed
        "disable_tqdm": False,
        "seed": settings.seed,
    }


def _alignment(folder: Path, settings: DemoSettings) -> dict[str, Any]:
    return _common(folder, settings) | {
        "learning_rate": settings.alignment_learning_rate,
        "max_steps": settings.alignment_steps,
    }


def _lora(model: PreTrainedModel, targets: list[str]) -> LoraConfig:
    layers = model.config.num_hidden_layers
    upper = list(range(round(layers * (1 - ADAPTED_LAYERS)), layers))
    return LoraConfig(r=16, lora_alpha=32, target_modules=targets, layers_to_transform=upper, task_type="CAUSAL_LM")


class _ProgressBar(ProgressCallback):
    """A progress bar with the remaining time, without a line for every log."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing; the log is in metrics.jsonl."""


def _quiet(trainer: Trainer) -> None:
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_ProgressBar)


def _save(trainer: SFTTrainer, folder: Path) -> None:
    trainer.model.save_pretrained(folder / "adapter")
    lines = [json.dumps(entry) for entry in trainer.state.log_history]
    write_text(folder / "metrics.jsonl", "\n".join(lines) + "\n")


def _evaluate(name: str, folder: Path, settings: DemoSettings) -> dict[str, Any]:
    model, tokenizer = _model(name, folder)
    rows = [row | {"measure": kind} for kind in MEASURES for row in measured_rows(kind, settings)]
    said = generate_responses(
        model,
        tokenizer,
        [row["prompt"] for row in rows],
        max_new_tokens=settings.response_tokens,
        batch_size=len(rows),  # a generation step takes about the same time for few and for many rows
        description=MODELS[name],
    )
    responses = [
        {
            "id": row["id"],
            "kind": row["measure"],
            "category": row["category"],
            "prompt": row["prompt"][-1]["content"],
            "response": text,
            "verdict": exact_match(text, row["answer"]) if row["measure"] == "task" else is_refusal(text),
        }
        for row, text in zip(rows, said, strict=True)
    ]
    measures = {}
    for kind in MEASURES:
        found = [response for response in responses if response["kind"] == kind]
        # empty responses do not count as refusals, but they show a broken model: report their number
        silent = sum(not response["response"] for response in found)
        measures[kind] = asdict(rate(sum(row["verdict"] for row in found), len(found))) | {"empty": silent}
    return {"model": name, "measures": measures, "responses": responses}


def _model(name: str, folder: Path) -> tuple[Any, Any]:
    model, tokenizer = load_model(str(folder / "aligned"), dtype="float32")
    if name != "start":
        model = PeftModel.from_pretrained(model, folder / name / "adapter").merge_and_unload()
    return model, tokenizer
