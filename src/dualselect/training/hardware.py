"""The device of a run: set up and checked when a trainer is made, since making settings must touch nothing global."""

from accelerate.state import PartialState
from transformers import TrainingArguments
from transformers.utils import enable_tf32, is_torch_tf32_available

from dualselect.errors import ConfigError
from dualselect.models.precision import has_bfloat16_gpu


def check_hardware(args: TrainingArguments) -> None:
    """Set up the device of a run, and refuse a machine on which its settings cannot be followed.

    Args:
        args: The settings. Their device is set up here, and `bf16` is decided if it is not set; other settings that
            were created in between do not matter.

    Raises:
        ConfigError: There are several processes or several visible GPUs, or the GPU lacks a number format.
    """
    device = args.device
    # accelerate keeps one device per process, and other settings may have set it since
    if PartialState().device.type != device.type:
        vars(args).pop("_setup_devices", None)
        device = args.device
    if args.bf16 is None:
        args.bf16 = device.type == "cuda" and has_bfloat16_gpu()
        args.mixed_precision = "bf16" if args.bf16 else args.mixed_precision
    if args.world_size > 1:
        raise ConfigError(
            f"{args.world_size} processes cannot be used: scores are not gathered across processes yet. Start a "
            "single process: python or dualselect in place of torchrun and accelerate launch."
        )
    if args.n_gpu > 1:
        raise ConfigError(
            f"{args.n_gpu} visible GPUs in one process cannot be used: data parallel replicas bypass the taps. Set "
            "CUDA_VISIBLE_DEVICES=0 in the environment."
        )
    if args.bf16 and device.type == "cuda" and not has_bfloat16_gpu():
        raise ConfigError("bf16: true, and this GPU does not compute in bfloat16: write bf16: false")
    if args.bf16 and device.type == "cpu" and not args.use_cpu:
        raise ConfigError(
            "bf16: true, and there is no GPU here: leave bf16 out, or write use_cpu: true to compute in bfloat16 on "
            "the CPU, which is slow"
        )
    if args.tf32 is not None:
        _set_tf32(args.tf32)


def _set_tf32(wanted: bool) -> None:
    if is_torch_tf32_available():
        enable_tf32(wanted)
    elif wanted:
        raise ConfigError("tf32: true, and there is no GPU here that has TF32 (Ampere or newer): leave tf32 out")
