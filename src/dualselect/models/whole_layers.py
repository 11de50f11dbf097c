"""Linear layers that are trained whole, without an adapter."""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from dualselect.errors import ConfigError


def train_whole_layers(model: PreTrainedModel, targets: str | Sequence[str]) -> None:
    """Train the weights and biases of linear layers whole; freeze everything else.

    Embeddings, norms and the output head stay frozen: the gradient engine sees linear layers, and the fused head
    works around its module.

    Args:
        model: Its parameters must not be quantized.
        targets: Ends of the layers' names, as for LoRA, or `all-linear`.

    Raises:
        ConfigError: No layer has such a name.
    """
    targets = [targets] if isinstance(targets, str) else list(targets)
    model.requires_grad_(False)
    head = model.get_output_embeddings()
    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module is not head
        and (targets == ["all-linear"] or any(name == target or name.endswith(f".{target}") for target in targets))
    ]
    if not layers:
        raise ConfigError(f"no linear layer is named {', '.join(targets)}: write all-linear, or names of its layers")
    for layer in layers:
        layer.requires_grad_(True)
