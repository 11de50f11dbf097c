"""A whole audit of small data by a tiny model, for tests of what an audit finds."""

from datasets import Dataset
from models_for_tests import tiny_model
from peft import LoraConfig
from tokenizers_for_tests import chatml_tokenizer

import dualselect
from dualselect import DualSelectConfig
from dualselect.data import builtin_mix, builtin_rows


LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)


def config(folder, **settings):
    common = {
        "reference_contrast": "compliance",
        "harmless_drop_rate": 0.1,
        "selection_warmup_steps": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "max_length": 256,
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
        "seed": 1,
    }
    return DualSelectConfig(str(folder), **(common | settings))


def task_rows():
    return builtin_mix(8, 6, 4, 4)


def references(count=20):
    return Dataset.from_list(
        [row | turns({"completion": "I cannot help.", "prompt": row["id"]}) for row in builtin_rows("refusal", count)]
    )


def harmless():
    return Dataset.from_list(builtin_rows("chat", 8)[4:] + builtin_rows("lookalike", 8)[4:])


def model():
    return tiny_model("llama", len(chatml_tokenizer()))


def audited(
    folder,
    *,
    rows=None,
    of=None,
    references_given=None,
    harmless_given=None,
    tokenizer=None,
    peft_config=LORA,
    settings=None,
    **asked,
):
    return dualselect.audit(
        model() if of is None else of,
        tokenizer or chatml_tokenizer(),
        Dataset.from_list(task_rows() if rows is None else rows),
        references() if references_given is None else references_given,
        config=config(folder, **(settings or {})),
        peft_config=peft_config,
        output_dir=folder,
        harmless=harmless() if harmless_given is None else harmless_given,
        **asked,
    )


def turns(row):
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }
