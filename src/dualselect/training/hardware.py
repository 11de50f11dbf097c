"""The device of a run, set up and checked when a trainer is created. Creating settings changes no global state."""

import os

from accelerate.state import PartialState
from transformers import TrainingArguments
from transformers.utils import enable_tf32, is_torch_tf32_available

from dualselect.errors import ConfigError
from dualselect.models.precision import has_bfloat16_gpu
from dualselect.system.processes import limit_waiting


DDP = {"MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "NO"}
"""Distributed types of accelerate in which each process holds the whole model."""


SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism",
}
"""What `accelerate launch` asks for by variables of the environment."""


def check_hardware(args: TrainingArguments, *, several_processes: bool = False) -> None:
    """Set up the device of a run, and reject settings that this machine does not support.

    Args:
        args: The settings. Their device is set up here, and `bf16` is decided if it is not set. Other settings
            created in the meantime have no effect.
        several_processes: Whether several processes can share the work.

    Raises:
        ConfigError: The processes cannot work together, one process sees several GPUs, or the GPU lacks a number
            format.
    """
    device = args.device
    # accelerate keeps one device per process, and other settings may have set it since
    if PartialState().device.type != device.type:
        vars(args).pop("_setup_devices", None)
        device = args.device
    if args.bf16 is None:
        args.bf16 = device.type == "cuda" and has_bfloat16_gpu()
        args.mixed_precision = "bf16" if args.bf16 else args.mixed_precision
    _check_processes(args, several_processes)
    if args.n_gpu > 1:
        raise ConfigError(
            f"{args.n_gpu} visible GPUs in one process cannot be used: DataParallel replicas bypass the taps. Set "
            "CUDA_VISIBLE_DEVICES=0 in the environment."
        )
    if args.bf16 and device.type == "cuda" and not has_bfloat16_gpu():
        raise ConfigError("bf16: true, but this GPU does not support bfloat16: write bf16: false")
    if args.bf16 and device.type == "cpu" and not args.use_cpu:
        raise ConfigError(
            "bf16: true, but this machine has no GPU: leave bf16 out, or write use_cpu: true to compute in bfloat16 "
            "on the CPU, which is slow"
        )
    if args.tf32 is not None:
        _set_tf32(args.tf32)


def _check_processes(args: TrainingArguments, several: bool) -> None:
    """Several processes work together by DDP; each holds the whole model."""
    if args.world_size > 1 and not several:
        raise ConfigError(
            f"{args.world_size} processes cannot be used: only DualSelect training runs on several processes. "
            "Start one process: use python or dualselect instead of torchrun or accelerate launch."
        )
    kind = str(PartialState().distributed_type.value)
    sharded = [what for name, what in SHARDING.items() if os.environ.get(name, "").lower() in ("1", "true")]
    if sharded or (args.world_size > 1 and kind not in DDP):
        raise ConfigError(
            f"{', '.join(sharded) or kind} cannot be used: each process must hold the whole model. Start the "
            "processes with torchrun (DDP) and without a sharding configuration; load_in_4bit and "
            "gradient_checkpointing save memory."
        )
    asked = int(os.environ.get("ACCELERATE_NUM_PROCESSES") or os.environ.get("WORLD_SIZE") or 1)
    if asked > args.world_size:
        raise ConfigError(
            f"{asked} processes were requested but only {args.world_size} is running: accelerate launch --cpu "
            "starts only one. "
            f"Use torchrun --nproc_per_node {asked}."
        )
    if args.world_size > 1:
        _check_batches(args)
        limit_waiting(args.ddp_timeout_delta)


def _check_batches(args: TrainingArguments) -> None:
    """The rows of a step must be those that one process would take, of as many rows from each process."""
    loader = args.accelerator_config
    refused = {
        "accelerator_config: {split_batches: true}": (loader.split_batches, "leave it out"),
        "accelerator_config: {dispatch_batches: true}": (loader.dispatch_batches, "leave it out"),
        "accelerator_config: {even_batches: false}": (
            not loader.even_batches,
            "leave it out; rows that fill up the last batch have weight 0",
        ),
        "train_sampling_strategy: batch_rebalance": (
            args.train_sampling_strategy == "batch_rebalance",
            "use group_by_length",
        ),
    }
    for what, (given, instead) in refused.items():
        if given:
            raise ConfigError(
                f"{what} cannot be used with {args.world_size} processes, because each must take equally many rows "
                f"of a step: {instead}."
            )


def _set_tf32(wanted: bool) -> None:
    if is_torch_tf32_available():
        enable_tf32(wanted)
    elif wanted:
        raise ConfigError("tf32: true, but this machine has no GPU with TF32 (Ampere or newer): leave tf32 out")
