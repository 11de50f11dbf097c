"""Which settings may change when a run is resumed: one rule for the library and the command line."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from dualselect.system.secrets import is_secret


# None of these settings affects the update of an optimizer step or its rows.
CHANGEABLE = frozenset(
    # location of the run; saving, display and logging
    "output_dir overwrite_output_dir run_name logging_dir project trackio_space_id trackio_static_space_id "
    "logging_strategy logging_steps logging_first_step logging_nan_inf_filter include_num_input_tokens_seen "
    "report_to log_level log_level_replica log_on_each_node disable_tqdm debug skip_memory_metrics log_completions "
    "save_strategy save_steps save_total_limit save_on_each_node save_only_model enable_jit_checkpoint "
    "restore_callback_states_from_checkpoint resume_from_checkpoint load_best_model_at_end metric_for_best_model "
    "greater_is_better push_to_hub hub_model_id hub_strategy hub_token hub_private_repo hub_always_push hub_revision "
    # evaluation does not touch the weights
    "do_train do_eval do_predict eval_strategy eval_steps eval_delay eval_on_start eval_accumulation_steps "
    "eval_do_concat_batches eval_use_gather_object per_device_eval_batch_size batch_eval_metrics "
    "prediction_loss_only include_for_metrics "
    # how the work is batched and how memory is saved
    "per_device_train_batch_size gradient_accumulation_steps gradient_checkpointing gradient_checkpointing_kwargs "
    "activation_checkpointing activation_checkpointing_kwargs activation_offloading torch_empty_cache_steps "
    "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
    "dataset_num_proc reference_batch_size token_cache local_rank ddp_timeout use_cache "
    # data checks; the data is compared by content
    "allow_prompt_overlap max_shared_references max_nonfinite_fraction "
    "max_row_bytes eval_data resume overwrite allow_changed_data allow_changed_model trust_remote_code".split()
)
# The length of the run may change unless the learning rate depends on it.
LENGTH = frozenset({"max_steps", "num_train_epochs"})
ROWS_PER_STEP = "rows per optimizer step (per_device_train_batch_size * gradient_accumulation_steps * processes)"


def deciding(settings: Mapping[str, Any], *, processes: int = 1) -> dict[str, Any]:
    """The settings that determine the result of a run, as plain JSON values.

    Args:
        settings: Values by setting name, including `lr_scheduler_type` and the batch sizes.
        processes: Number of processes of the run.
    """
    schedule = str(plain(settings.get("lr_scheduler_type", "constant")))
    left_out = CHANGEABLE | (LENGTH if schedule.startswith("constant") else frozenset())
    found = {name: plain(value) for name, value in settings.items() if name not in left_out}
    batch, accumulation = (
        settings.get(name) for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    if batch is not None and accumulation is not None:
        found[ROWS_PER_STEP] = batch * accumulation * processes
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any], names: Collection[str]) -> list[str]:
    """`NAME VALUE then, VALUE now` for each name whose value differs; a missing name counts as None."""
    return [
        f"{name} {_short(before.get(name))} then, {_short(now.get(name))} now"
        for name in names
        if before.get(name) != now.get(name)
    ]


def plain(value: Any) -> Any:
    """A value as plain JSON: enums by value, sets sorted, 0.0 as 0, secrets removed."""
    value = getattr(value, "value", value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items() if not is_secret(str(name))}
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
