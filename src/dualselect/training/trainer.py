"""`DualSelectTrainer`: TRL's SFT trainer with coupled task-reference selection in its training step.

The step, in order: refresh the references when due; score the examples of each micro-batch by their gradients; on the
last micro-batch choose among all examples of the optimizer step, take their weighted mean gradient, correct it, and
hand it to clipping and the optimizer as usual.

Shapes: n examples in an optimizer step, N references, P trainable parameters.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualselect.data.checks import check_embeddings
from dualselect.gradients import GradientEngine, GradientLayout, Sink
from dualselect.models.losses import mean_over_tokens, score_responses
from dualselect.models.precision import with_float32_adapter
from dualselect.models.response_states import ResponseStates
from dualselect.selection import refresh_due
from dualselect.training.choice import Decision, decide
from dualselect.training.collator import RowIndexCollator, padding
from dualselect.training.config import DualSelectConfig
from dualselect.training.dial import Dial
from dualselect.training.gradient_storage import DTYPES, Storage, choose_storage
from dualselect.training.harmless import harmless_rows
from dualselect.training.nonfinite import check_non_finite
from dualselect.training.packing import LoaderRows, check_rows_apart, is_padded, loader_rows, packed
from dualselect.training.preparation import (
    ROW,
    PreparedRows,
    check_arguments,
    prepare_rows,
    without_shared_prompts,
)
from dualselect.training.references import ChooseReferences, start_model_of
from dualselect.training.refresh import Directions, PoolScores, Refresh
from dualselect.training.resumable import ResumableTrainer
from dualselect.training.selection_log import SelectionLog
from dualselect.training.sides import divided, reference_pool
from dualselect.training.start import check_dense_text_model, check_warmup, default_config
from dualselect.training.state import date_in_rows, empty_state, fingerprint_of, load_state, save_state
from dualselect.training.step import ExampleStats, StepExamples, corrected_update


logger = logging.getLogger(__name__)


class DualSelectTrainer(ResumableTrainer):
    """Fine-tune on the task examples that are compatible with the safe responses at risk.

    Implements arXiv 2606.09866. Accepts all arguments of `trl.SFTTrainer`, with these differences:

    Args:
        model: Name, folder or model. Its trainable parameters must be linear layers (LoRA), unless
            `gradient_engine` is `sequential`.
        args: A `DualSelectConfig`; default settings if omitted.
        train_dataset: Task rows: `messages`, `prompt`/`completion`, `instruction`/`output`, `question`/`answer`, or
            already tokenized (`input_ids`, `labels`). Logs name rows by their `id` column, or by a hash without one.
        reference_dataset: Safe responses, in any of the same formats.
        harmless_dataset: Harmless rows that calibrate `task_token_budget: auto` beside the built-in ones.
        reference_losses: Losses by row id that `excess` is measured from; others are measured at the start.
        choose_references: Replaces the choice of the highest-scored references. It is called with the scores of the
            whole pool, shape (N,), and the number to keep.
        **sft: All other arguments of `SFTTrainer`: `eval_dataset`, `processing_class`, `peft_config`, `callbacks`, ...

    Raises:
        ConfigError: A setting cannot be used.
        DataError: Rows cannot be used, the reference pool is empty, or too many prompts are in both data sets.
        GradientError: A trainable parameter has no per-example gradients, or a loss or gradient is not finite.
        ResumeError: The checkpoint is from another run.
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

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: DualSelectConfig | None = None,
        *,
        train_dataset: Dataset | None = None,
        reference_dataset: Dataset | None = None,
        harmless_dataset: Dataset | None = None,
        reference_losses: Mapping[str, float] | None = None,
        choose_references: ChooseReferences | None = None,
        **sft: Any,
    ) -> None:
        args = default_config(model) if args is None else args
        check_arguments(args, train_dataset, reference_dataset, sft)
        if not isinstance(model, str) and isinstance(sft.get("processing_class"), PreTrainedTokenizerBase):
            check_embeddings(model, sft["processing_class"], pad_token=args.pad_token)
        self._rows: dict[str, PreparedRows] = {}
        self._reference_losses = reference_losses
        self._role: str | None = "train"  # of the next data set in `_prepare_dataset`; None: evaluation
        self._max_length = args.max_length
        if args.padding_free and not args.packing:  # TRL rejects max_length; `_prepare_dataset` enforces it
            args.max_length = None
        try:
            super().__init__(model=model, args=args, train_dataset=train_dataset, **sft)
        finally:
            args.max_length = self._max_length
        self.loader = LoaderRows(self.train_dataset, args)
        check_dense_text_model(self.model, is_moe=self.aux_loss_enabled, is_vlm=self._is_vlm)
        self._role = "reference"
        self._prepare_dataset(
            reference_dataset, self.processing_class, args, False, self._formatting_func, "reference"
        )
        apart = without_shared_prompts(self._rows["train"], self._rows["reference"], args)
        references = divided(apart, args)
        self._rows["reference"] = references.pool
        self.reference_dataset = self._rows["reference"].tokens
        check_embeddings(self.model, self._tokenizer, **{role: rows.tokens for role, rows in self._rows.items()})
        self._layout = GradientLayout.of(with_float32_adapter(self.model))
        self._engine = GradientEngine(args.gradient_engine, self.model, self._layout)
        self._storage: Storage = "recompute"  # chosen when training begins
        run, padded = self._run_gradients, padding(self.data_collator)
        self.pool = reference_pool(references, self._tokenizer, padded, run, self._layout, args, choose_references)
        self._dial = Dial(references, padded, args.reference_slack) if references.held_out else None
        self._harmless = harmless_rows(harmless_dataset, self._rows, self._tokenizer, args)
        self.data_collator = RowIndexCollator(self.data_collator)
        self.selection_log = SelectionLog(args.output_dir)
        self._states = ResponseStates(self.model) if self._harmless is not None else None
        self._loop, self._examples = empty_state(self._layout), self._no_examples()
        self._directions: Directions | None = None

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
        """Tokenize with exact response boundaries. Rows without a role are evaluation rows."""
        role, self._role, args.max_length = self._role, None, self._max_length
        trl_prepare = functools.partial(
            super()._prepare_dataset,
            processing_class=processing_class,
            args=args,
            formatting_func=formatting_func,
            dataset_name=dataset_name,
        )
        if not isinstance(dataset, Dataset):  # a stream of evaluation rows
            return trl_prepare(dataset, packing=packing)
        trl_prepare = functools.partial(trl_prepare, packing=False)
        name = role or f"evaluation {dataset_name}"
        prepared = prepare_rows(
            dataset, self._tokenizer, args, name=name, trl_prepare=trl_prepare, formatting_func=formatting_func
        )
        if role is None:
            rows = prepared.tokens.remove_columns(ROW)
            return packed(rows, self._max_length) if packing else rows
        self._rows[role] = prepared
        return loader_rows(prepared.tokens, args) if role == "train" else prepared.tokens

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if ROW not in self._signature_columns:
            self._signature_columns += [ROW]

    # The step

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Process a micro-batch; on the last one of an optimizer step, select, correct and fill `.grad`.

        Returns:
            The weighted mean loss of the examples kept, on the last micro-batch; 0 on earlier ones. Losses are
            per-example means, so `num_items_in_batch` is not used.
        """
        # without the DDP wrapper: the taps do not need its gradient reduction
        model = self.accelerator.unwrap_model(model)
        model.train()
        if callable(getattr(self.optimizer, "train", None)):  # schedule-free optimizers
            self.optimizer.train()
        inputs = self._prepare_inputs(inputs)
        rows = inputs.pop(ROW)
        with self.maybe_activation_offload_context, self.compute_loss_context_manager():
            if not self._examples:
                self._prepare_update(model)
            direction = self._directions.score if self._directions else None
            self._examples.add(model, inputs, self._task_losses, rows, direction, self._loop.probe)
            if not self.accelerator.sync_gradients:
                return torch.zeros((), device=self.args.device)
            return self._update(model)

    def _run_gradients(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        example_losses: Callable[..., Tensor],
        sinks: Sequence[Sink],
    ) -> Tensor:
        return self._engine(model, inputs, example_losses, sinks, step=self.state.global_step)

    def _no_examples(self) -> StepExamples:
        kept = DTYPES[self.args.gradient_dtype]
        return StepExamples(self._layout, self._run_gradients, self._storage, kept, self._states)

    def _task_losses(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        outputs = score_responses(model, inputs)
        self._token_counts.add(outputs, inputs)
        return mean_over_tokens(outputs, inputs)

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """Evaluate a batch as TRL does, without the row indices that training rows carry."""
        inputs = {name: value for name, value in inputs.items() if name != ROW}
        return super().prediction_step(model, inputs, *arguments, **options)

    def _prepare_update(self, model: nn.Module) -> None:
        step = self.state.global_step
        if self.args.preservation_loss == "excess" and self._loop.start_losses is None:
            self._loop.start_losses = self.pool.start_losses(model, self._reference_losses)
        assert self._loop.warmup_steps is not None
        if self._dial is not None:
            self._loop.dial = self._dial.follow(self._loop.dial, model, selecting_for=step - self._loop.warmup_steps)
        if step == 0 < self._loop.warmup_steps and self._harmless is not None:
            rate = self.args.harmless_drop_rate
            self._loop.opening = self._harmless.opening(model, self.pool, self.selection_log, rate)
        if step < self._loop.warmup_steps:
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
        direction, before, start_losses = self._loop.task_direction, self._loop.refresh, self._loop.start_losses
        scores = self.pool.score(
            model,
            direction,
            start_losses=start_losses,
            start_model=start_model_of(self.model),
            before=None if before is None else before.choice,
        )
        choice = self.pool.choose(scores.scores)
        directions = self.pool.directions(model, choice, scores.filter_direction)
        step, epoch = self.state.global_step, int(self.state.epoch or 0)
        rows = self._harmless
        found = None if rows is None else rows.calibrated(model, self.pool, directions, scores.probe)
        refresh = Refresh(step, epoch, choice, direction, directions, found)
        self._loop.refresh = refresh
        self._loop.direction_sum, self._loop.direction_steps = torch.zeros_like(direction), 0
        self._record_refresh(refresh, scores, before)

    def _update(self, model: nn.Module) -> Tensor:
        examples, self._examples = self._examples, self._no_examples()
        stats = examples.stats(
            self.loader.repeated(end=self.accelerator.gradient_state.end_of_dataloader), self.loader.packed
        )
        finite, weights = self._finite(stats), torch.zeros(len(stats.rows), dtype=torch.float64)
        stats = stats.at(finite)
        decision = decide(stats, self._loop, self.args, selecting=self._directions is not None)
        weights[finite] = decision.choice.weights
        task_gradient = examples.weighted_sum(model, weights)
        self._loop.add_step(task_gradient)
        rhos = None if self._loop.dial is None else self._loop.dial.rho
        update, norms = corrected_update(task_gradient, self._directions, self.args, rhos)
        self._layout.assign(model, update)
        if direction_cosine := self._loop.task_direction_cosine:
            norms["task_direction_cosine"] = direction_cosine
        self._record_step(decision, stats, norms)
        return (decision.choice.weights * stats.losses).sum().float().to(self.args.device)

    def _finite(self, stats: ExampleStats) -> list[int]:
        """Positions of the rows whose loss and gradient are finite; the others are logged and counted."""
        ids, step = self._rows["train"].ids_of(stats.rows), self.state.global_step + 1
        finite = check_non_finite(
            stats.losses + stats.gradient_norms,
            ids,
            f"the loss or gradient of task examples in step {step}",
            at_most=self.args.max_nonfinite_fraction,
            of=round(self.state.max_steps * self.loader.rows_per_step),
            before=self._loop.totals.nonfinite_rows,
        )
        if len(finite) < len(ids):
            taken_out = [row for position, row in enumerate(ids) if position not in set(finite)]
            self._loop.totals.nonfinite_rows += len(taken_out)
            self.selection_log.append("nonfinite", step, ids=taken_out)
        return finite

    # Logging

    def _record_refresh(self, refresh: Refresh, scores: PoolScores, before: Refresh | None) -> None:
        finite, references = scores.finite, self._rows["reference"]
        labels = references.labels_of([references.indices[position] for position in finite])
        ids = [self.pool.ids[position] for position in finite]
        facts = refresh.facts(scores, before, self.args.harmless_drop_rate)
        self.selection_log.append("refresh", refresh.step + 1, ids=ids, **labels, **facts)

    def _record_step(self, decision: Decision, stats: ExampleStats, norms: dict[str, float]) -> None:
        train, selecting = self._rows["train"], self._directions is not None
        fields = {"ids": train.ids_of(stats.rows), **train.labels_of(stats.rows), "losses": stats.losses.tolist()}
        fields |= decision.fields(stats, self._loop.conflict_filter, selecting=selecting)
        fields |= self._loop.dial.facts() if self._loop.dial is not None and selecting else {}
        self.selection_log.append("step" if selecting else "warmup", self._loop.step, **fields, **norms)
        if selecting:
            metrics = decision.metrics(stats) | norms
            metrics |= {} if self._loop.dial is None else self._loop.dial.metrics()
            metrics["dropped_token_fraction_of_run"] = self._loop.totals.dropped_token_fraction
            for name, value in metrics.items():
                self._metrics["train"][f"dualselect/{name}"].append(value)

    # Start, save, resume

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        check_warmup(self.args, max_steps)
        self._check_packed_rows()
        self._loop, self._directions, self._logging_before = empty_state(self._layout), None, {}
        prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        self._storage = choose_storage(
            self.args, self.model, self._layout, self._loop.gradient_storage, rows_in_one=self.loader.most_in_one
        )
        self._loop.gradient_storage, self._examples = self._storage, self._no_examples()
        if self._loop.warmup_steps is None:
            self._loop.warmup_steps = self.args.planned_warmup_steps(max_steps)
        self._restore_logs(resume_from_checkpoint, self.selection_log.path)
        return prepared

    def _check_packed_rows(self) -> None:
        tokens = self._rows["train"].tokens
        if is_padded(self.args) or len(tokens) < 2:
            return
        batch = self.data_collator(list(tokens.select(range(2))))
        with self.compute_loss_context_manager():
            check_rows_apart(self.model, self._prepare_inputs({name: batch[name] for name in batch if name != ROW}))

    def _finalize_training(self, *given: Any) -> Any:
        ended, last = super()._finalize_training(*given), self._loop.refresh
        whole = self.state.global_step >= self.state.max_steps and not self.args.load_best_model_at_end
        if last is not None and whole:  # after the last step no refresh measures the agreement
            with self.maybe_activation_offload_context, self.compute_loss_context_manager():
                agreement = self.pool.agreement(self.model, last)
            self.selection_log.append("end", self.state.global_step + 1, same_references_cosine=agreement)
        logger.info("%s", self._loop.totals.describe(self.args))
        return ended

    def _card_settings(self) -> dict[str, Any]:
        return self.args.method_settings

    def _card_rows(self) -> dict[str, int]:
        return super()._card_rows() | {"reference data": len(self.pool.rows)}

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        logging = self._logging_state()
        if self.args.should_save:
            save_state(self._loop, output_dir, self._layout, self._fingerprint(), logging=logging)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_state(resume_from_checkpoint, self._layout, self._fingerprint())  # gives a clearer error than torch
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._loop = load_state(checkpoint, self._layout, self._fingerprint(), step=self.state.global_step)
            self._logging_before = self._loop.logging

    def _fingerprint(self) -> dict[str, Any]:
        harmless = None if self._harmless is None else self._harmless.tokens
        rows = fingerprint_of(self._rows, self.pool.contrast_rows, harmless, date_in_rows(self._tokenizer))
        return rows | self._deciding_settings()
