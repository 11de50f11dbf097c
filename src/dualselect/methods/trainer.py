"""`MethodTrainer`: TRL's SFT trainer with the hooks of a method.

The loss is averaged over the tokens of an example and then over the examples of an optimizer step, as in
`DualSelectTrainer`, so that methods differ only by their own idea. TRL averages over all tokens.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from dualselect.data import tokenize
from dualselect.data.source_rows import SourceRows
from dualselect.errors import ConfigError, GradientError
from dualselect.gradients import GradientLayout
from dualselect.methods.method import Method, Run, Update
from dualselect.models.precision import with_float32_adapter
from dualselect.runs.model import adapted
from dualselect.runs.settings import RunSettings
from dualselect.training.hardware import check_hardware
from dualselect.training.output import OutputTrainer
from dualselect.training.packages import check_packages
from dualselect.training.references import start_model_of


TOKENS = ["input_ids", "labels"]


class MethodTrainer(OutputTrainer):
    """Fine-tune by a method.

    Args:
        model: The model without an adapter.
        args: Training settings.
        method: The method.
        task: Tokenized task rows: `input_ids`, `labels`, `id`, `kind`.
        pool: Tokenized safe responses in the same form; None without a pool.
        merged_adapters: Adapters of earlier runs that are part of the model's weights.
        **sft: Further arguments of `SFTTrainer`: `processing_class`, `peft_config`, ...

    Raises:
        ConfigError: A requirement of the method is missing, or `max_steps` ends before its first step on the task.
        DataError: The method cannot use the rows.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: Any,
        *,
        method: Method,
        task: Dataset,
        pool: Dataset | None = None,
        merged_adapters: Sequence[str] = (),
        **sft: Any,
    ) -> None:
        if method.needs_pool and not pool:
            raise ConfigError(
                f"{method.name} needs a pool of safe responses: set reference_data, or remove the method"
            )
        for name in ("packing", "padding_free"):
            if getattr(args, name):
                raise ConfigError(
                    f"{name}: true: {method.name} takes padded batches only. Leave {name} out; training by DualSelect "
                    "can use it"
                )
        check_hardware(args)
        check_packages(args)
        self._method = method
        rows = method.rows(task, pool, args.seed).select_columns(TOKENS)
        self._row_counts = {"task data": len(task)} | ({} if pool is None else {"reference data": len(pool)})
        self._order = _order(method, args, len(task), len(rows))
        if self._order is not None:  # the order covers all epochs and refers to positions in `rows`
            args = copy.copy(args)
            args.num_train_epochs, args.shuffle_dataset = 1, False
        super().__init__(model, args, train_dataset=rows, **sft)
        self._layout = GradientLayout.of(with_float32_adapter(self.model))
        self.update: Update = method.update(
            Run(
                model=self.model,
                layout=self._layout,
                task=task.select_columns(TOKENS),
                pool=None if pool is None else pool.select_columns(TOKENS),
                batch=self._batch,
                log=self.log,
                start_model=start_model_of(self.model),
                rows_per_step=_rows_per_step(args),
                seed=args.seed,
                folder=Path(args.output_dir),
                pool_ids=[] if pool is None else list(pool["id"]),
                pool_tasks=[] if pool is None else list(pool["kind"]),
                merged_adapters=merged_adapters,
            )
        )
        self._losses: list[Tensor] = []
        self.add_callback(_StepEnd(self.update))

    @classmethod
    def of(
        cls,
        method: Method,
        settings: RunSettings,
        rows: Mapping[str, SourceRows],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
    ) -> "MethodTrainer":
        """Create the trainer of a run, with rows tokenized as in `DualSelectTrainer`."""
        training = settings.training
        tokenized = {
            role: tokenize(
                source.dataset,
                tokenizer,
                max_length=training.max_length,
                prompt_format=training.prompt_format,
                mask_mode=training.mask_mode,
                scope="everything" if training.completion_only_loss is False else training.supervise,
                name=role,
                num_proc=training.dataset_num_proc,
            ).dataset
            for role, source in rows.items()
        }
        model, peft_config = adapted(model, settings)
        return cls(
            model,
            training,
            method=method,
            task=tokenized["task_data"],
            pool=tokenized.get("reference_data"),
            merged_adapters=settings.model.merged_adapters,
            processing_class=tokenizer,
            peft_config=None if peft_config is None else method.peft_config(peft_config),
        )

    def _card_method(self) -> tuple[str, str]:
        return self._method.name, self._method.paper

    def _card_settings(self) -> dict[str, Any]:
        return self._method.settings

    def _card_rows(self) -> dict[str, int]:
        return self._row_counts

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Process a micro-batch; after the last one of an optimizer step, set `.grad` to the method's gradient.

        Returns:
            The mean loss over the step's examples after the last micro-batch, else 0.
        """
        model.train()
        if callable(getattr(self.optimizer, "train", None)):  # schedule-free optimizers
            self.optimizer.train()
        inputs = self._prepare_inputs(inputs)
        with self.maybe_activation_offload_context, self.compute_loss_context_manager():
            losses = self.update.losses(model, inputs)
        # divided at the end of the step, so that the mean does not depend on the batch split
        losses.sum().backward()
        self._losses.append(losses.detach())
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        step_losses, self._losses = torch.cat(self._losses), []
        gradient = gradient_of(self._layout, model) / len(step_losses)
        loss = step_losses.mean()
        if not torch.isfinite(loss + gradient.norm()):
            raise GradientError(
                f"{self._method.name}: the loss or its gradient is not finite before step "
                f"{self.state.global_step + 1}; lower learning_rate, or train in float32"
            )
        gradient = self.update.gradient(gradient, self.state.global_step, self.state.max_steps)
        self._layout.assign(model, gradient)
        return loss

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        return super()._get_train_sampler(train_dataset) if self._order is None else self._order

    def _batch(self, rows: Dataset) -> Mapping[str, Any]:
        return {name: value.to(self.args.device) for name, value in self.data_collator(list(rows)).items()}


def gradient_of(layout: GradientLayout, model: nn.Module) -> Tensor:
    """The `.grad` of the trainable parameters as a flat vector, shape (P,); missing gradients are 0."""
    return torch.cat(
        [
            (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).detach().float().flatten()
            for parameter in layout.parameters(model).values()
        ]
    )


def _rows_per_step(args: Any) -> int:
    return int(args.per_device_train_batch_size * args.gradient_accumulation_steps)


def _order(method: Method, args: Any, task_rows: int, rows: int) -> list[int] | None:
    """The method's row order of the whole run, deterministic; None if it has none."""
    rows_per_step = _rows_per_step(args)
    # enough epochs for max_steps, even if all steps were on the task
    epochs = args.max_steps * rows_per_step / task_rows if args.max_steps > 0 else args.num_train_epochs
    order = method.order(task_rows, rows, rows_per_step, epochs, torch.Generator().manual_seed(args.seed * 1_000_003))
    if order and args.max_steps > 0:
        order = order[: args.max_steps * rows_per_step]
        if min(order) >= task_rows:
            raise ConfigError(
                f"{method.name}: max_steps {args.max_steps} ends before the first step on the task: raise max_steps, "
                "or lower alignment_steps"
            )
    return order


class _StepEnd(TrainerCallback):
    def __init__(self, update: Update) -> None:
        self._update = update

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._update.after_step()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._update.finish()
