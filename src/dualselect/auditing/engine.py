"""The model in an audit: a temporary adapter, per-example gradients, losses, and short fine-tuning runs.

Shapes: B rows in a batch, P trainable parameters.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from dualselect.data.token_columns import TokenRow
from dualselect.data.tokens import IGNORED_LABEL
from dualselect.errors import GradientError, ModelError
from dualselect.gradients import GradientEngine, GradientLayout, Sink, Sum
from dualselect.gradients.layout import ExampleLosses
from dualselect.models.losses import mean_over_tokens, response_cross_entropy, score_responses
from dualselect.models.precision import autocast_forward
from dualselect.models.response_states import ResponseStates
from dualselect.system.progress import in_batches
from dualselect.training.config import DualSelectConfig
from dualselect.training.references import without_dropout


OPENING_TOKENS = 8
"""Number of supervised tokens in the opening of a response."""


@dataclass(frozen=True)
class RowLosses:
    """Losses of B rows.

    Attributes:
        losses: Mean over the supervised tokens, shape (B,).
        opening_losses: Mean over the first `OPENING_TOKENS` supervised tokens, shape (B,).
    """

    losses: Tensor
    opening_losses: Tensor


@dataclass
class Engine:
    """A model with a trainable adapter and no dropout.

    Attributes:
        model: The model; its adapter may be modified freely.
        layout: The layout of the adapter.
        padding: Padding token id.
        config: Settings.
        steps: Optimizer steps taken by `train`.
    """

    model: PeftModel
    layout: GradientLayout
    padding: int
    config: DualSelectConfig
    steps: int = 0
    _gradients: GradientEngine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._gradients = GradientEngine(self.config.gradient_engine, self.model, self.layout)

    def collate(self, rows: Sequence[TokenRow]) -> dict[str, Tensor]:
        """Collate rows into one right-padded batch."""
        batch = {
            "input_ids": _padded([row["input_ids"] for row in rows], self.padding),
            "attention_mask": _padded([[1] * len(row["input_ids"]) for row in rows], 0),
            "labels": _padded([row["labels"] for row in rows], IGNORED_LABEL),
        }
        return {name: value.to(self.layout.device) for name, value in batch.items()}

    def run(self, model: nn.Module, batch: Mapping[str, Any], losses: ExampleLosses, sinks: Sequence[Sink]) -> Tensor:
        """Losses of a batch, shape (B,); the sinks collect the gradients. `ReferencePool` calls it."""
        return self._gradients(model, batch, losses, sinks, step=self.steps)

    def run_rows(
        self, rows: Sequence[TokenRow], sinks: Sequence[Sink], states: ResponseStates | None = None
    ) -> RowLosses:
        """Losses and opening losses of rows, in one batch; the sinks collect the gradients.

        Args:
            rows: The rows.
            sinks: Collect the gradients.
            states: Collects the representations of the responses.
        """
        openings: list[Tensor] = []

        def losses(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
            outputs = score_responses(model, inputs)
            openings.append(opening_losses(outputs.log_probs.detach(), inputs["labels"]))
            return mean_over_tokens(outputs, inputs)

        losses_of = losses if states is None else states.during(losses)
        return RowLosses(self.run(self.model, self.collate(rows), losses_of, sinks), torch.cat(openings))

    def losses(self, rows: Sequence[TokenRow]) -> Tensor:
        """Loss of each row without gradients, shape (B,)."""
        with torch.no_grad():
            return response_cross_entropy(self.model, self.collate(rows)).float()

    def batches(self, positions: Sequence[int], what: str) -> Iterator[list[int]]:
        """Split positions into micro-batches, with a progress bar."""
        size, quiet = self.config.reference_micro_batch_size, self.config.disable_tqdm
        return in_batches(positions, size, description=what, unit="row", quiet=quiet)

    def parameters(self) -> Tensor:
        """A copy of the adapter as a flat vector, shape (P,)."""
        flat = self.layout.zeros()
        for (_, piece), parameter in zip(
            self.layout.pieces(flat), self.layout.parameters(self.model).values(), strict=True
        ):
            piece.copy_(parameter.detach())
        return flat

    def set_parameters(self, flat: Tensor) -> None:
        """Set the adapter from a flat vector of shape (P,)."""
        with torch.no_grad():
            for (_, piece), parameter in zip(
                self.layout.pieces(flat), self.layout.parameters(self.model).values(), strict=True
            ):
                parameter.copy_(piece)

    def train(self, rows: Sequence[TokenRow], steps: int, what: str) -> Tensor:
        """Take plain optimizer steps, as in the warm-up of training: AdamW on the clipped mean gradient.

        Args:
            rows: Used in order, cyclically.
            steps: Optimizer steps.
            what: Title of the progress bar.

        Returns:
            Sum of the mean gradients of all steps, shape (P,).

        Raises:
            GradientError: A gradient is not finite.
        """
        config = self.config
        parameters = list(self.layout.parameters(self.model).values())
        optimizer = torch.optim.AdamW(
            parameters,
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
        )
        size = config.per_device_train_batch_size * config.gradient_accumulation_steps
        direction = self.layout.zeros()
        for step in tqdm(range(steps), desc=what, unit="step", leave=False, disable=config.disable_tqdm):
            gradient = self.layout.zeros()
            chosen = [rows[(step * size + index) % len(rows)] for index in range(size)]
            for start in range(0, size, config.per_device_train_batch_size):
                part = chosen[start : start + config.per_device_train_batch_size]
                sink = Sum(self.layout, torch.full((len(part),), 1 / size))
                self.run(self.model, self.collate(part), response_cross_entropy, [sink])
                gradient += sink.total[0]
            if not torch.isfinite(gradient).all():
                raise GradientError(
                    f"{what}: the gradient of step {step + 1} is not finite; lower learning_rate or use float32"
                )
            direction += gradient
            self.layout.assign(self.model, gradient)
            if config.max_grad_norm is not None and config.max_grad_norm > 0:  # as transformers does
                torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            self.steps += 1
        return direction


def opening_losses(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-probability of each row's first `OPENING_TOKENS` supervised tokens.

    Args:
        log_probs: Log-probabilities of the supervised tokens of all rows, concatenated, shape (1, S).
        labels: Shape (B, T).

    Returns:
        Shape (B,).
    """
    supervised = labels[:, 1:] != IGNORED_LABEL
    padded = log_probs.float().new_zeros(supervised.shape).masked_scatter(supervised, log_probs.float())
    first = supervised & (supervised.cumsum(1) <= OPENING_TOKENS)
    return -(padded * first).sum(1) / first.sum(1)


@contextmanager
def adapted(
    model: PreTrainedModel | PeftModel, peft_config: PeftConfig | None, padding: int, config: DualSelectConfig
) -> Iterator[Engine]:
    """Provide a model with a temporary adapter. On exit the model is restored bit for bit.

    Args:
        model: A model without an adapter, which gets a new one, or with an adapter, whose weights are restored.
        peft_config: Config of the new adapter.
        padding: Padding token id.
        config: Settings.

    Raises:
        ModelError: The model has no adapter and no `peft_config` is given.
    """
    with contextlib.ExitStack() as restore:
        flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
        restore.callback(_restore_flags, flags)
        if isinstance(model, PeftModel):
            active = model.active_adapter
            model.set_adapter(active)
            peft_model = model
        else:
            if peft_config is None:
                raise ModelError(
                    "the model has no adapter and no peft_config is given: pass a peft_config, such as LoraConfig()"
                )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                peft_model = _with_adapter(model, peft_config)
            restore.callback(peft_model.unload)
        base = peft_model.get_base_model()
        restore.callback(_restore_forward, base, vars(base).get("forward"))
        add_fused_lm_head(base)
        if config.bf16:
            restore.callback(_restore_forward, peft_model, vars(peft_model).get("forward"))
            autocast_forward(peft_model)
        restore.enter_context(without_dropout(peft_model))
        engine = Engine(peft_model, GradientLayout.of(peft_model), padding, config)
        restore.callback(functools.partial(engine.set_parameters, engine.parameters()))
        yield engine


def _with_adapter(model: PreTrainedModel, peft_config: PeftConfig) -> PeftModel:
    try:
        return get_peft_model(model, peft_config)
    except ValueError as error:
        raise ModelError(
            f"PEFT cannot add an adapter to this model: {error}; set lora_target_modules to linear layers of the "
            "model, or to all-linear"
        ) from error


def _restore_forward(model: nn.Module, before: Any) -> None:
    if before is None:
        vars(model).pop("forward", None)
    else:
        model.forward = before


def _restore_flags(flags: Mapping[nn.Parameter, bool]) -> None:
    for parameter, trainable in flags.items():
        parameter.requires_grad_(trainable)
        parameter.grad = None


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    tensors = [torch.tensor(row) for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
