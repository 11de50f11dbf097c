"""The model under study: loaded with its adapter, its gradients, and the optimizer steps that move it.

A step is that of training, of all rows of a batch: clip to `max_grad_norm`, then AdamW, at a constant learning rate,
without dropout and without gradient checkpointing.

Shapes: B examples, P trainable parameters; weights and gradients are flat float32 vectors.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import get_peft_config
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import add_fused_lm_head

from dualselect.gradients import GradientLayout, PerExampleGradients, sequential_gradients, tapped_gradients
from dualselect.gradients.losses import response_cross_entropy, response_kl
from dualselect.models.precision import autocast_forward
from dualselect.runs.model import load_run_model
from dualselect.runs.settings import RunSettings
from dualselect.training.config import DualSelectConfig
from dualselect.training.references import start_model_of


@dataclass(frozen=True)
class Place:
    """Where a model stands on its way.

    Attributes:
        weights: Trainable parameters, shape (P,).
        first_moment: AdamW's running mean of gradients, shape (P,).
        second_moment: AdamW's running mean of their squares, shape (P,).
        steps: Optimizer steps done.
    """

    weights: Tensor
    first_moment: Tensor
    second_moment: Tensor
    steps: int


class Subject:
    """A model with its adapter, in evaluation mode.

    Args:
        model: The model, with the fused head that scores responses and with its adapter.
        tokenizer: Its tokenizer.
        config: Settings.
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, config: DualSelectConfig) -> None:
        self.model, self.tokenizer, self.config = model.eval(), tokenizer, config
        self.layout = GradientLayout.of(model)
        self.start_model = start_model_of(model)
        self._collate = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id or 0)
        self._engine = tapped_gradients if config.gradient_engine == "taps" else sequential_gradients

    @classmethod
    def of(cls, settings: RunSettings) -> "Subject":
        """Load the model of a run and give it a fresh adapter, on the GPU where there is one.

        Raises:
            ModelError: The model cannot be loaded.
        """
        model, tokenizer = load_run_model(settings)
        if torch.cuda.is_available() and not settings.training.use_cpu:
            model = model.to("cuda")
        return cls.adapted(model, tokenizer, settings)

    @classmethod
    def adapted(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: RunSettings) -> "Subject":
        """Give a model its adapter."""
        add_fused_lm_head(model)
        set_seed(settings.training.seed)  # the adapter is drawn
        own = get_peft_model(model, get_peft_config(settings.model))
        if settings.training.bf16:
            autocast_forward(own)
        return cls(own, tokenizer, settings.training)

    def batch(self, rows: Dataset, positions: Sequence[int]) -> Mapping[str, Any]:
        """A padded batch of some rows, on the model's device."""
        found = rows[list(positions)]
        picked = [
            {"input_ids": tokens, "labels": labels}
            for tokens, labels in zip(found["input_ids"], found["labels"], strict=True)
        ]
        return {name: value.to(self.layout.device) for name, value in self._collate(picked).items()}

    def gradients(self, rows: Dataset, positions: Sequence[int]) -> PerExampleGradients:
        """Loss and gradient of each of some rows."""
        return self._engine(self.model, self.batch(rows, positions), response_cross_entropy, self.layout)

    def losses(self, rows: Dataset, positions: Sequence[int]) -> Tensor:
        """Loss of each of some rows, shape (B,), by a forward pass only."""
        with torch.no_grad():
            return response_cross_entropy(self.model, self.batch(rows, positions)).float()

    def divergences(self, rows: Dataset, positions: Sequence[int]) -> Tensor:
        """KL(start || now) of each of some rows, in nats, shape (B,)."""
        return response_kl(self.model, self.start_model, self.batch(rows, positions))

    def mean_gradient(self, rows: Dataset, positions: Sequence[int]) -> Tensor:
        """Gradient of the mean loss of some rows, shape (P,)."""
        total = self.layout.zeros()
        for part in parts_of(positions, self.config.per_device_train_batch_size):
            total += self.gradients(rows, part).gradients.sum(0)
        return total / len(positions)

    def place(self) -> Place:
        """Where the model stands now, with no optimizer step behind it."""
        weights = torch.cat([one.detach().float().flatten() for one in self.layout.parameters(self.model).values()])
        return Place(weights, torch.zeros_like(weights), torch.zeros_like(weights), 0)

    def move_to(self, place: Place) -> None:
        """Give the trainable parameters the values of a place."""
        parameters = self.layout.parameters(self.model)
        with torch.no_grad():
            for name, piece in self.layout.pieces(place.weights):
                parameters[name].copy_(piece)

    def step(self, place: Place, gradient: Tensor) -> Place:
        """The place after one optimizer step from another; the model is moved there."""
        args = self.config
        weights = nn.Parameter(place.weights.clone())
        optimizer = torch.optim.AdamW(
            [weights],
            lr=args.learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=args.weight_decay,
        )
        if place.steps:
            state = {
                "step": torch.tensor(float(place.steps)),
                "exp_avg": place.first_moment.clone(),
                "exp_avg_sq": place.second_moment.clone(),
            }
            optimizer.load_state_dict({**copy.deepcopy(optimizer.state_dict()), "state": {0: state}})
        weights.grad = gradient.clone()
        if args.max_grad_norm is not None and args.max_grad_norm > 0:  # as transformers does
            nn.utils.clip_grad_norm_([weights], args.max_grad_norm)
        optimizer.step()
        state = optimizer.state[weights]
        moved = Place(weights.detach(), state["exp_avg"], state["exp_avg_sq"], place.steps + 1)
        self.move_to(moved)
        return moved


def parts_of(positions: Sequence[int], size: int) -> Iterator[list[int]]:
    """Stretches of at most `size` positions."""
    for start in range(0, len(positions), size):
        yield list(positions[start : start + size])
