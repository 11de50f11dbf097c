"""`DualSelectTrainer`: TRL's SFT trainer with coupled task-reference selection in its training step.

The step, in order: refresh the references when due; per-example gradients of each micro-batch; on the last
micro-batch choose among all examples of the optimizer step, take their weighted mean gradient, correct it, and hand
it over to clipping and the optimizer as usual.

Shapes: n examples in an optimizer step, N references, P trainable parameters.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.trainer.utils import get_config_model_id

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.errors import ConfigError, ModelError
from dualselect.gradients import (
    GradientLayout,
    PerExampleGradients,
    cosines,
    refuse_non_finite,
    sequential_gradients,
    tapped_gradients,
)
from dualselect.gradients.losses import mean_over_tokens, response_cross_entropy, score_responses
from dualselect.models.precision import with_float32_adapter
from dualselect.selection import (
    Choice,
    choose_all,
    choose_task_rows,
    refresh_due,
    task_scores,
)
from dualselect.selection.correction import corrected
from dualselect.training.config import DualSelectConfig
from dualselect.training.output import OutputTrainer
from dualselect.training.preparation import (
    PreparedRows,
    RowIndexCollator,
    check_arguments,
    contrast_rows,
    prepare_rows,
    refuse_overlap,
)
from dualselect.training.references import (
    ChooseReferences,
    Directions,
    ReferencePool,
    Refresh,
    check_pool,
    start_model_of,
)
from dualselect.training.selection_log import SelectionLog
from dualselect.training.state import empty_state, full_disk_told, load_state, save_state
from dualselect.training.token_counts import TokenCounts


class DualSelectTrainer(OutputTrainer):
    """Fine-tune on the task examples that are compatible with the safe responses at stake.

    Implements arXiv 2606.09866. Takes everything that `trl.SFTTrainer` takes; the differences:

    Args:
        model: Name, folder or model. Its trainable parameters must be linear layers (LoRA), unless
            `gradient_engine` is `sequential`.
        args: A `DualSelectConfig`; default settings when left out.
        train_dataset: Task rows: `messages`, `prompt`/`completion`, `instruction`/`output`, `question`/`answer`, or
            already tokenized (`input_ids`, `labels`). A column `id` names the rows in logs; otherwise a hash does.
        reference_dataset: Safe responses, in any of the same formats.
        choose_references: Replaces the choice of the highest-scored references; called with the scores of the whole
            pool, shape (N,), and the number to keep.
        **sft: Everything else of `SFTTrainer`: `eval_dataset`, `processing_class`, `peft_config`, `callbacks`, ...

    Raises:
        ConfigError: A setting that cannot be used.
        DataError: Rows that cannot be used; the reference pool is empty; prompts stand in both data sets.
        GradientError: A trainable parameter without per-example gradients; a loss or gradient that is not finite.
        ResumeError: The checkpoint is of another run.
    """

    _tag_names = ["trl", "dualselect"]  # noqa: RUF012 - TRL's own attribute
    _name = "DualSelect"
    _paper = {  # noqa: RUF012 - TRL's own attribute
        "title": "Two to Tango: Coupled Task-Reference Selection for Safe LLM Fine-tuning",
        "id": "2606.09866",
    }

    args: DualSelectConfig
    model: PreTrainedModel | PeftModel
    data_collator: Any
    _total_train_tokens: int

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: DualSelectConfig | None = None,
        *,
        train_dataset: Dataset | None = None,
        reference_dataset: Dataset | None = None,
        choose_references: ChooseReferences | None = None,
        **sft: Any,
    ) -> None:
        if args is None:
            name = model if isinstance(model, str) else get_config_model_id(model.config)
            args = DualSelectConfig(f"{name.split('/')[-1]}-DualSelect")
        check_arguments(args, train_dataset, reference_dataset, sft)
        self._rows: dict[str, PreparedRows] = {}
        super().__init__(model=model, args=args, train_dataset=train_dataset, **sft)
        if self.aux_loss_enabled or self._is_vlm:
            kind = "a vision-language model" if self._is_vlm else "a mixture of experts"
            raise ModelError(f"{type(self.model).__name__} is {kind}: only dense text models are supported")
        self._formatting_func = sft.get("formatting_func")
        self.reference_dataset = self._prepare_dataset(
            reference_dataset, self.processing_class, args, False, self._formatting_func, "reference"
        )
        refuse_overlap(self._rows["train"], self._rows["reference"], allow=args.allow_prompt_overlap)
        self._layout = GradientLayout.of(with_float32_adapter(self.model))
        self.pool = self._reference_pool(choose_references)
        self.data_collator = RowIndexCollator(self.data_collator)
        self.selection_log = SelectionLog(args.output_dir)
        self._loop = empty_state(self._layout)
        self._directions: Directions | None = None
        self._pending: list[tuple[PerExampleGradients, Tensor, Tensor]] = []
        self._token_counts = TokenCounts()
        self._verified = False

    # Rows

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Callable[..., Any] | None,
        dataset_name: str,
    ) -> Any:
        """Tokenize with an exact response boundary, keep row ids, count what is dropped and cut."""
        of_trl = functools.partial(
            super()._prepare_dataset,
            processing_class=processing_class,
            args=args,
            packing=packing,
            formatting_func=formatting_func,
            dataset_name=dataset_name,
        )
        prepared = prepare_rows(
            dataset,
            self._tokenizer,
            args,
            name=dataset_name,
            of_trl=of_trl,
            keep_trl_labels=formatting_func is not None
            or args.assistant_only_loss
            or args.completion_only_loss is False,
        )
        self._rows[dataset_name] = prepared
        return prepared.tokens

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "row_index" not in self._signature_columns:
            self._signature_columns += ["row_index"]

    def _reference_pool(self, choose: ChooseReferences | None) -> ReferencePool:
        rows = self._rows["reference"]
        contrast = contrast_rows(rows, self._tokenizer, self.args)
        check_pool(rows.tokens, contrast, self.args.reference_top_k)
        gradients = functools.partial(self._gradients, example_losses=response_cross_entropy)
        ids = rows.ids_of(rows.tokens["row_index"])
        return ReferencePool(
            rows.tokens, ids, contrast, self.data_collator, gradients, self._layout, self.args, choose
        )

    # The step

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One micro-batch; on the last of an optimizer step, selection and correction into `.grad`.

        Returns:
            The weighted mean loss of the examples kept, on the last micro-batch; 0 before. Losses are means per
            example, so `num_items_in_batch` has no part in it.
        """
        model.train()
        if callable(getattr(self.optimizer, "train", None)):  # schedule-free optimizers
            self.optimizer.train()
        inputs = self._prepare_inputs(inputs)
        rows = inputs.pop("row_index")
        with self.maybe_activation_offload_context, self.compute_loss_context_manager():
            if not self._pending:
                self._prepare_update(model)
            found = self._gradients(model, inputs, example_losses=self._task_losses)
        tokens = (inputs["labels"][:, 1:] != IGNORED_LABEL).sum(1)
        self._pending.append((found, tokens, rows))
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        return self._update(model)

    def _gradients(
        self, model: nn.Module, inputs: Mapping[str, Any], example_losses: Callable[..., Tensor]
    ) -> PerExampleGradients:
        if self.args.gradient_engine == "sequential":
            return sequential_gradients(model, inputs, example_losses, self._layout)
        verify, self._verified = not self._verified, True
        return tapped_gradients(model, inputs, example_losses, self._layout, verify=verify)

    def _task_losses(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        outputs = score_responses(model, inputs)
        self._token_counts.add(outputs, inputs)
        return mean_over_tokens(outputs, inputs["labels"])

    def _prepare_update(self, model: nn.Module) -> None:
        step = self.state.global_step
        if self.args.preservation_loss == "excess" and self._loop.start_losses is None:
            self._loop.start_losses = self.pool.start_losses(model)
        if step < self.args.selection_warmup_steps:
            return
        if self._refresh_due():
            self._refresh(model)
        assert self._loop.refresh is not None
        self._directions = self._loop.refresh.directions
        if self.args.reference_gradient == "replay":
            seed = self.args.seed * 1_000_003 + step
            drawn = self.pool.draw(self._loop.refresh.choice, self.args.reference_replay_size, seed=seed)
            self._directions = self.pool.directions(model, drawn)

    def _refresh_due(self) -> bool:
        last = self._loop.refresh
        return refresh_due(
            self.args.reference_refresh,
            epochs_since=None if last is None else int(self.state.epoch or 0) - last.epoch,
            steps_since=None if last is None else self.state.global_step - last.step,
            every_steps=self.args.reference_refresh_steps,
            direction_cosine=self._loop.task_direction_cosine,
            least_cosine=self.args.reference_refresh_cosine,
        )

    def _refresh(self, model: nn.Module) -> None:
        direction, before = self._loop.task_direction, self._loop.refresh
        scores = self.pool.score(
            model,
            direction,
            start_losses=self._loop.start_losses,
            start_model=start_model_of(self.model),
            before=None if before is None else before.choice,
        )
        choice = self.pool.choose(scores.scores)
        directions = self.pool.directions(model, choice)
        threshold = None if self.args.task_token_share else self.pool.conflict_threshold(model, choice, directions)
        step, epoch = self.state.global_step, int(self.state.epoch or 0)
        refresh = Refresh(step, epoch, choice, direction.clone(), directions, threshold)
        self._loop.refresh = refresh
        self._loop.direction_sum, self._loop.direction_steps = torch.zeros_like(direction), 0
        facts = self._rows["reference"].labels_of(self.pool.rows["row_index"]) | refresh.facts(scores, before=before)
        self.selection_log.append("refresh", step + 1, ids=self.pool.ids, **facts)

    def _update(self, model: nn.Module) -> Tensor:
        pending, self._pending = self._pending, []
        numbers, rows = self._gathered(pending)
        losses, found_cosines, gradient_norms, tokens = numbers
        refuse_non_finite(
            losses + gradient_norms,
            self._rows["train"].ids_of(rows),
            f"the task examples' loss or gradient before step {self.state.global_step + 1}",
        )
        warming_up = self._directions is None
        scores = task_scores(
            losses,
            found_cosines,
            loss_weight=self.args.task_loss_weight,
            conflict_weight=self.args.conflict_weight,
        )
        choice = choose_all(len(losses)) if warming_up else self._choose(scores, found_cosines, tokens)
        weights = choice.weights.float().to(self._layout.device).split([len(found.losses) for found, *_ in pending])
        task_gradient = self._layout.zeros()
        for part, (found, *_) in zip(weights, pending, strict=True):
            task_gradient += part @ found.gradients
        self._loop.direction_sum = self._loop.direction_sum + task_gradient
        self._loop.direction_steps += 1
        self._loop.step = self.state.global_step + 1
        update, norms = task_gradient, {"task_gradient_norm": task_gradient.norm().item()}
        if self._directions is not None:
            reference_direction = self._directions.correction
            update = corrected(
                task_gradient,
                reference_direction,
                mode=self.args.correction,
                rho=self.args.rho,
                rho_mode=self.args.rho_mode,
            )
            norms["reference_direction_norm"] = reference_direction.norm().item()
        norms["update_norm"] = update.norm().item()
        self._layout.assign(model, update.clone() if update is task_gradient else update)
        if turned := self._loop.task_direction_cosine:
            norms["task_direction_cosine"] = turned
        self._record(choice, rows, numbers, scores, norms)
        return (choice.weights * losses).sum().float().to(self.args.device)

    def _gathered(self, pending: list[tuple[PerExampleGradients, Tensor, Tensor]]) -> tuple[Tensor, list[int]]:
        """The numbers of all examples of this optimizer step, in one transfer: the one place where they come together.

        Returns:
            Losses, cosines, gradient norms and supervised tokens, shape (4, n), float64 on the CPU; row indices.
        """
        direction = self._layout.zeros() if self._directions is None else self._directions.score
        parts = [
            (found.losses, cosines(found.gradients, direction), found.gradients.norm(dim=1), tokens.float())
            for found, tokens, _ in pending
        ]
        return torch.cat([torch.stack(part) for part in parts], dim=1).double().cpu(), torch.cat(
            [rows for *_, rows in pending]
        ).tolist()

    def _choose(self, scores: Tensor, found_cosines: Tensor, tokens: Tensor) -> Choice:
        assert self._loop.refresh is not None
        return choose_task_rows(
            scores,
            found_cosines,
            tokens,
            top_k=self.args.task_top_k,
            token_share=self.args.task_token_share,
            conflict_threshold=self._loop.refresh.conflict_threshold,
            temperature=self.args.task_temperature if self.args.selection_mode == "soft" else None,
        )

    # What is told

    def _record(
        self, choice: Choice, rows: list[int], numbers: Tensor, scores: Tensor, norms: dict[str, float]
    ) -> None:
        losses, found_cosines, _, tokens = numbers
        kept, train = choice.weights > 0, self._rows["train"]
        common = {"ids": train.ids_of(rows), **train.labels_of(rows), "losses": losses.tolist()}
        if self._directions is None:
            self.selection_log.append("warmup", self._loop.step, **common, **norms)
            return
        self.selection_log.append(
            "step",
            self._loop.step,
            **common,
            cosines=found_cosines.tolist(),
            scores=scores.tolist(),
            tokens=[int(count) for count in tokens.tolist()],
            kept=kept.tolist(),
            weights=choice.weights.tolist(),
            **norms,
        )
        told = {
            "task_cosine": found_cosines.mean(),
            "kept_fraction": kept.double().mean(),
            "kept_token_fraction": (tokens * kept).sum() / tokens.sum(),
            **norms,
        }
        for name, value in told.items():
            self._metrics["train"][f"dualselect/{name}"].append(float(value))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, with its token metrics, taken from the device once per log."""
        if self._token_counts.any:
            self._total_train_tokens, metrics = self._token_counts.take(self._total_train_tokens)
            self._metrics["train"].update({name: [value] for name, value in metrics.items()})
        super().log(logs, start_time)

    # Start, save, resume

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        if max_steps <= self.args.selection_warmup_steps:
            raise ConfigError(
                f"the run has {max_steps} optimizer steps and selection_warmup_steps is "
                f"{self.args.selection_warmup_steps}: nothing would be selected. Lower selection_warmup_steps, or "
                "train for longer."
            )
        self._loop, self._directions, self._pending = empty_state(self._layout), None, []
        prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        self.selection_log.cut_after(self._loop.step)
        return prepared

    def _finalize_training(self, *given: Any) -> Any:
        ended, last = super()._finalize_training(*given), self._loop.refresh
        whole = self.state.global_step >= self.state.max_steps and not self.args.load_best_model_at_end
        if last is not None and whole:  # no later refresh tells it
            with self.maybe_activation_offload_context, self.compute_loss_context_manager():
                agreement = self.pool.agreement(self.model_wrapped, last)
            self.selection_log.append("end", self.state.global_step + 1, same_references_cosine=agreement)
        return ended

    def _card_settings(self) -> dict[str, Any]:
        return self.args.method_settings

    def _card_rows(self) -> dict[str, int]:
        return super()._card_rows() | {"reference data": len(self.pool.rows)}

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        with full_disk_told(self.state.global_step, self.args.output_dir):
            super()._save_checkpoint(model, trial)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        save_state(self._loop, output_dir, self._layout, self._fingerprint())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._loop = load_state(checkpoint, self._layout, self._fingerprint())

    def _fingerprint(self) -> dict[str, Any]:
        return {
            "task rows": self._rows["train"].fingerprint,
            "reference rows": self._rows["reference"].fingerprint,
            **self.args.method_settings,
        }
