"""Models, batches and gradients one at a time, for the tests of the gradient engine."""

import torch
from models_for_tests import tiny_model
from peft import LoraConfig, get_peft_model
from torch import nn
from trl.trainer.utils import add_fused_lm_head

from dualselect.gradients import Materialise, Taps, run_sequentially


VOCABULARY = 97
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def tapped(model, inputs, losses, layout, unverified=None):
    sink = Materialise(layout, len(inputs["input_ids"]))
    found = Taps(model, layout).run(model, inputs, losses, [sink], unverified=unverified)
    return found, sink.gradients


def one_at_a_time(model, inputs, losses, layout, examples=None):
    sink = Materialise(layout, examples or len(inputs["input_ids"]))
    return run_sequentially(model, inputs, losses, layout, [sink]), sink.gradients


def lora_model(architecture="llama", targets=("q_proj", "v_proj"), dropout=0.0, bias="none", seed=0):
    model = tiny_model(architecture, VOCABULARY, seed)
    add_fused_lm_head(model, outputs=("log_probs",))
    model = get_peft_model(model, LoraConfig(r=4, target_modules=list(targets), lora_dropout=dropout, bias=bias))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:  # B is zero at the start, which would hide the gradient of A
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return model.train()


def batch_of(lengths, seed=0, left=False):
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    inputs = {
        "input_ids": torch.zeros(len(lengths), width, dtype=torch.long),
        "attention_mask": torch.zeros(len(lengths), width, dtype=torch.long),
        "labels": torch.full((len(lengths), width), -100),
    }
    for row, length in enumerate(lengths):
        place = slice(width - length, width) if left else slice(0, length)
        ids = torch.randint(1, VOCABULARY, (length,), generator=generator)
        labels = ids.clone()
        labels[: length // 2] = -100
        inputs["input_ids"][row, place], inputs["labels"][row, place] = ids, labels
        inputs["attention_mask"][row, place] = 1
    return inputs


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


class TwoUses(nn.Module):
    """Plain linear layers with biases; `first` is used twice and shares its weight with `third`."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 6)
        self.first, self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 6)
        self.third.weight = self.first.weight
        self.embedding.weight.requires_grad_(False)

    def forward(self, input_ids, attention_mask=None, labels=None):
        hidden = self.first(input=torch.tanh(self.first(self.embedding(input_ids))))
        return self.third(torch.tanh(self.second(hidden)))


def squares(model, inputs):
    return (model(**inputs) ** 2 * inputs["attention_mask"][..., None]).mean((1, 2))
