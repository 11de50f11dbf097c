"""OSFT: each task may only move the weights in the directions that matter least to what was learned before."""

from dataclasses import dataclass
from typing import ClassVar

from peft import OSFConfig, PeftConfig

from dualselect.methods.method import Method, check_range


@dataclass(frozen=True)
class Osft(Method):
    """PEFT's orthogonal subspace fine-tuning (Nayak et al., arXiv 2504.07097).

    The weights of a layer are split by their singular values. The largest directions are frozen, the others are
    trained, and updates are kept orthogonal to the frozen ones. In a sequence of tasks, each task decomposes the
    weights that the earlier ones left (`merged_adapters`). PEFT's adapter replaces LoRA; `lora_target_modules` names
    the layers.

    Attributes:
        effective_rank: Share of the singular directions that are frozen, in (0, 1).
    """

    paper: ClassVar[str] = "OSFT, Nayak et al., arXiv 2504.07097 (PEFT's OSF)"
    name: str = "osft"
    effective_rank: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "effective_rank", low=0, high=1, above=True, below=True)

    def peft_config(self, lora: PeftConfig) -> PeftConfig:
        """OSF on the layers that would get LoRA."""
        return OSFConfig(
            target_modules=getattr(lora, "target_modules", None),
            effective_rank=self.effective_rank,
            task_type="CAUSAL_LM",
        )
