"""The model under study: loading, gradients, and optimizer steps.

A step uses all rows of a batch: clip to `max_grad_norm`, then AdamW at a constant learning rate, without dropout and
without gradient checkpointing.

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

from dualselect.data.token_columns import TokenRow, token_rows
from dualselect.gradients import GradientEngine, GradientLayout, Sink, Sum
from dualselect.models.losses import response_cross_entropy, response_kl
from dualselect.models.precision import autocast_forward
from dualselect.runs.model import load_run_model
from dualselect.runs.settings import RunSettings
from dualselect.training.config import DualSelectConfig
from dualselect.training.references import start_model_of


@dataclass(frozen=True)
class ModelState:
    """Trainable parameters and optimizer state.

    Attributes:
        weights: Trainable parameters, shape (P,).
        first_moment: AdamW's running mean of gradients, shape (P,).
        second_moment: AdamW's running mean of their squares, shape (P,).
        steps: Number of optimizer steps.
    """

    weights: Tensor
    first_moment: Tensor
    second_moment: Tensor
    steps: int


class Subject:
    """A model with its adapter, in evaluation mode.

    Args:
        model: The model with its adapter and a fused LM head.
        tokenizer: Its tokenizer.
        config: Settings.
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, config: DualSelectConfig) -> None:
        self.model, self.tokenizer, self.config = model.eval(), tokenizer, config
        self.layout = GradientLayout.of(model)
        self.start_model = start_model_of(model)
        self._collate = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id or 0)
        self._gradients = GradientEngine(config.gradient_engine, model, self.layout)

    @classmethod
    def of(cls, settings: RunSettings) -> "Subject":
        """Load the model of a run with a new adapter, on the GPU if there is one.

        Raises:
            ModelError: The model cannot be loaded.
        """
        model, tokenizer = load_run_model(settings)
        if torch.cuda.is_available() and not settings.training.use_cpu:
            model = model.to("cuda")
        return cls.adapted(model, tokenizer, settings)

    @classmethod
    def adapted(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: RunSettings) -> "Subject":
        """Add a new adapter to a model and wrap it as a subject."""
        add_fused_lm_head(model)
        set_seed(settings.training.seed)  # for the initialization of the adapter
        adapted = get_peft_model(model, get_peft_config(settings.model))
        if settings.training.bf16:
            autocast_forward(adapted)
        return cls(adapted, tokenizer, settings.training)

    def batch(self, rows: Dataset, positions: Sequence[int]) -> Mapping[str, Any]:
        """A padded batch of rows, on the model's device."""
        return self.collate(token_rows(rows, positions))

    def collate(self, rows: Sequence[TokenRow]) -> Mapping[str, Any]:
        """Rows as a padded batch, on the model's device."""
        return {name: value.to(self.layout.device) for name, value in self._collate([*rows]).items()}

    def run(self, rows: Sequence[TokenRow], sinks: Sequence[Sink]) -> Tensor:
        """Per-example losses of rows, shape (B,); the sinks collect the gradients."""
        return self._gradients(self.model, self.collate(rows), response_cross_entropy, sinks)

    def losses(self, rows: Dataset, positions: Sequence[int]) -> Tensor:
        """Per-example losses without gradients, shape (B,)."""
        with torch.no_grad():
            return response_cross_entropy(self.model, self.batch(rows, positions)).float()

    def divergences(self, rows: Dataset, positions: Sequence[int]) -> Tensor:
        """Per-example KL(start || current) in nats, shape (B,)."""
        return response_kl(self.model, self.start_model, self.batch(rows, positions))

    def mean_gradient(self, rows: Dataset, positions: Sequence[int]) -> Tensor:
        """Gradient of the mean loss of rows, shape (P,)."""
        total = self.layout.zeros()
        for part in parts_of(positions, self.config.per_device_train_batch_size):
            sink = Sum(self.layout, torch.full((len(part),), 1 / len(positions)))
            self.run(token_rows(rows, part), [sink])
            total += sink.total[0]
        return total

    def state(self) -> ModelState:
        """The current parameters with a fresh optimizer state."""
        weights = torch.cat([one.detach().float().flatten() for one in self.layout.parameters(self.model).values()])
        return ModelState(weights, torch.zeros_like(weights), torch.zeros_like(weights), 0)

    def load(self, state: ModelState) -> None:
        """Set the trainable parameters from a state."""
        parameters = self.layout.parameters(self.model)
        with torch.no_grad():
            for name, piece in self.layout.pieces(state.weights):
                parameters[name].copy_(piece)

    def step(self, state: ModelState, gradient: Tensor) -> ModelState:
        """Take one optimizer step from a state; returns the new state and loads it into the model."""
        args = self.config
        weights = nn.Parameter(state.weights.clone())
        optimizer = torch.optim.AdamW(
            [weights],
            lr=args.learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=args.weight_decay,
        )
        if state.steps:
            optimizer_state = {
                "step": torch.tensor(float(state.steps)),
                "exp_avg": state.first_moment.clone(),
                "exp_avg_sq": state.second_moment.clone(),
            }
            optimizer.load_state_dict({**copy.deepcopy(optimizer.state_dict()), "state": {0: optimizer_state}})
        weights.grad = gradient.clone()
        if args.max_grad_norm is not None and args.max_grad_norm > 0:  # as transformers does
            nn.utils.clip_grad_norm_([weights], args.max_grad_norm)
        optimizer.step()
        moments = optimizer.state[weights]
        new_state = ModelState(weights.detach(), moments["exp_avg"], moments["exp_avg_sq"], state.steps + 1)
        self.load(new_state)
        return new_state


def parts_of(positions: Sequence[int], size: int) -> Iterator[list[int]]:
    """Consecutive parts of at most `size` positions."""
    for start in range(0, len(positions), size):
        yield list(positions[start : start + size])
