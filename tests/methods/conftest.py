"""Small tokenized rows and a trainer of a method over a tiny random model."""

import pytest
from models_for_tests import tiny_model
from peft import LoraConfig
from rows_for_tests import conversation_rows, safe_rows
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig
from dualselect.data import as_conversations, tokenize
from dualselect.methods.trainer import MethodTrainer


def tokens(rows, tokenizer):
    return tokenize(as_conversations(rows, name="rows"), tokenizer, max_length=256).dataset


@pytest.fixture
def method_trainer(tmp_path):
    """Makes a trainer that runs 4 steps of 4 rows when nothing else is said."""

    def make(method, *, task=None, with_pool=True, dropout=0.0, folder="run", **settings):
        tokenizer = chatml_tokenizer()
        common = {
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.1,
            "optim": "sgd",
            "max_grad_norm": 0.0,
            "save_strategy": "no",
            "gradient_checkpointing": False,
            "disable_tqdm": True,
            "report_to": "none",
            "use_cpu": True,
            "seed": 1,
        }
        return MethodTrainer(
            tiny_model("llama", len(tokenizer)),
            DualSelectConfig(str(tmp_path / folder), **(common | settings)),
            method=method,
            task=tokens(conversation_rows(12) if task is None else task, tokenizer),
            pool=tokens(safe_rows(6), tokenizer) if with_pool else None,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=dropout),
        )

    return make
