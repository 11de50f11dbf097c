"""Messages of libraries that a user cannot act on; each filter names one."""

import warnings


# Each: the start of the message as a regular expression, and the category.
WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    # Names that TRL or PEFT use and transformers will drop.
    (r".*gradient_checkpointing", FutureWarning),
    (r".*is deprecated", FutureWarning),
    (r".*will be removed in", FutureWarning),
    (r".*torch_dtype", FutureWarning),
    # A default for GPUs.
    (r"'pin_memory' argument is set as true but no accelerator", UserWarning),
    # Said by PyTorch of how transformers calls it.
    (r".*torch\.utils\.checkpoint", UserWarning),
    (r"None of the inputs have requires_grad=True", UserWarning),
    (r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`", UserWarning),
    # PEFT looks at the base model's folder to guess whether its vocabulary grew.
    (r"Could not find a config file in", UserWarning),
    (r".*[Pp]ydantic", UserWarning),
)


def ignore_library_warnings() -> None:
    """Ignore these warnings in this process; those of this project and all others stay."""
    for message, category in WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category)
