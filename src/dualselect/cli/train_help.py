"""`dualselect train --help`: the settings in groups, those of this project first."""

import argparse
import shutil
import textwrap
from collections.abc import Iterable

from dualselect.runs.settings import setting_choices, setting_types


INTRODUCTION = """\
Fine-tune a model on task data and keep the safe behavior that a reference pool shows.

usage: dualselect train [--config FILE] [--key value ...] [--plan]

example:
  dualselect train --task_data my_task.jsonl --reference_data safe_answers.jsonl --output_dir runs/first
  dualselect train --config examples/smollm2_cpu.yaml --learning_rate 1e-4
  dualselect train --config runs/first/config.yaml --resume

Settings are in a YAML file, one `key: value` a line, or on the command line, which wins. The run directory holds
config.yaml (repeats the run), selection.jsonl (which rows were kept, and why), metrics.jsonl, adapter/ and
checkpoint-*/. Ctrl-C ends the current step, saves a checkpoint and says how to go on.

Before: dualselect doctor says whether it would start. --plan, or dualselect plan, predicts minutes, memory and disk
space from a few steps and trains nothing further.

exit status: 0 done; 1 the work failed; 2 something given cannot be used; 128 plus the signal when interrupted.
"""

GROUPS: dict[str, str] = {
    "Data": "task_data reference_data reference_losses harmless_data audit eval_data columns max_row_bytes "
    "prompt_format max_length supervise mask_mode allow_prompt_overlap max_shared_references token_cache "
    "allow_changed_data allow_changed_model",
    "Run directory": "output_dir resume overwrite save_steps save_total_limit logging_steps report_to",
    "Model and adapter": "model_name_or_path model_revision dtype lora_r lora_alpha lora_dropout lora_target_modules "
    "load_in_4bit load_in_8bit attn_implementation trust_remote_code use_peft start_adapter merged_adapters",
    "Warm-up": "selection_warmup_steps",
    "Choice of references": "reference_top_k reference_fraction preservation_loss reference_contrast "
    "reference_sides reference_loss_weight conflict_weight reference_temperature reference_batch_size",
    "Refresh of references": "reference_refresh reference_refresh_steps reference_refresh_cosine",
    "Choice of task rows": "task_token_budget harmless_drop_rate task_budget_scope task_top_k selection_mode "
    "task_loss_weight task_temperature max_nonfinite_fraction",
    "Correction of the gradient": "correction rho reference_slack rho_mode reference_gradient reference_replay_size",
    "Training": "num_train_epochs max_steps per_device_train_batch_size gradient_accumulation_steps learning_rate "
    "lr_scheduler_type warmup_steps weight_decay max_grad_norm optim bf16 gradient_checkpointing seed use_cpu "
    "packing padding_free eval_strategy eval_steps gradient_engine gradient_storage gradient_dtype",
}
# What TRL says is true for SFTTrainer; these words are true here.
OWN_WORDS = {
    "output_dir": "The run directory.",
    "save_steps": "Optimizer steps between checkpoints.",
    "save_total_limit": "Checkpoints kept; older ones are deleted. Not set: all.",
    "logging_steps": "Optimizer steps between lines of metrics.jsonl.",
    "report_to": "Trackers to send metrics to, such as tensorboard. Nothing is sent anywhere by default.",
    "model_revision": "Branch, tag or commit of a hub model.",
    "load_in_4bit": "Load the frozen weights in 4 bits (QLoRA); needs bitsandbytes and a GPU.",
    "load_in_8bit": "Load the frozen weights in 8 bits; needs bitsandbytes and a GPU.",
    "attn_implementation": "Attention, such as sdpa, eager or flash_attention_2.",
    "trust_remote_code": "Run code that comes with the model. Only for models you trust.",
    "num_train_epochs": "Passes over the task data.",
    "max_steps": "Optimizer steps, in place of num_train_epochs; warm-up steps count.",
    "per_device_train_batch_size": "Task rows in one forward and backward.",
    "gradient_accumulation_steps": "Batches in one optimizer step; the choice is made among all their rows.",
    "learning_rate": "Learning rate of the optimizer.",
    "warmup_steps": "Steps of learning-rate warm-up (not of the selection: selection_warmup_steps).",
    "weight_decay": "Weight decay of the optimizer.",
    "max_grad_norm": "The corrected gradient is clipped to this norm.",
    "optim": "Optimizer, by its name in transformers.",
    "gradient_checkpointing": "Recompute activations to save memory. On by default with a GPU, off on a CPU.",
    "eval_strategy": "When the loss of eval_data is logged: no, steps (every eval_steps) or epoch.",
    "eval_steps": "Optimizer steps between two evaluations of eval_data; not set: logging_steps.",
    "packing": "Put several whole task rows into one row of max_length tokens (needs no padding). A batch then has "
    "per_device_train_batch_size packed rows, so a step has more task rows; the choice is still made row by row.",
    "padding_free": "Put the task rows of a batch one after the other, without padding.",
    "seed": "Seed of everything random.",
    "use_cpu": "Do not use a GPU that is there.",
}
REST = "All other settings of TRL and transformers"
MORE = "{count} more settings of TRL and transformers can be used: dualselect train --help-all lists them.\n"


def train_help(parser: argparse.ArgumentParser, *, everything: bool) -> str:
    """The help text.

    Args:
        parser: The parser, for texts and defaults.
        everything: List the settings that few people need, too.
    """
    width = min(110, shutil.get_terminal_size((100, 24)).columns)
    actions = {action.dest: action for action in reversed(parser._actions)}
    grouped = {name for names in GROUPS.values() for name in names.split()}
    parts = [INTRODUCTION]
    parts += [_group(title, names.split(), actions, width) for title, names in GROUPS.items()]
    rest = [name for name in setting_types() if name not in grouped and name in actions]
    parts.append(_group(REST, rest, actions, width) if everything else MORE.format(count=len(rest)))
    return "\n".join(parts)


def _group(title: str, names: Iterable[str], actions: dict[str, argparse.Action], width: int) -> str:
    return "\n".join([f"{title}:", *(_setting(actions[name], width) for name in names)]) + "\n"


def _setting(action: argparse.Action, width: int) -> str:
    name = action.dest
    help_text = OWN_WORDS.get(name) or (action.help or "").replace("%%", "%")
    choices = setting_choices(name)
    named = choices and len(choices) <= 6 and not all(choice in help_text for choice in choices)
    facts = [f"one of {', '.join(choices)}"] if named else []
    if action.default not in (None, [], {}, "") and name not in ("gradient_checkpointing",):
        facts.append(f"default {_shown(action.default)}")
    text = " ".join(help_text.split()) + (f" [{'; '.join(facts)}]" if facts else "")
    wrapped = textwrap.wrap(text, width - 6, break_long_words=False, break_on_hyphens=False)
    return "\n".join([f"  --{name}", *(f"      {line}" for line in wrapped)])


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(getattr(value, "value", value))
