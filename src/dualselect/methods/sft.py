"""Plain fine-tuning: what every other method is compared with."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from dualselect.methods.method import Method


@dataclass(frozen=True)
class Sft(Method):
    """Supervised fine-tuning on all task rows, nothing else."""

    paper: ClassVar[str] = "plain supervised fine-tuning"
    name: str = "sft"


@dataclass(frozen=True)
class SftTuned(Sft):
    """The honest control: plain fine-tuning whose learning rate and epochs were chosen on held-out task rows.

    Much of the harm of fine-tuning goes away with sound hyper-parameters (arXiv 2508.12531). As a single run it is
    `sft`; `dualselect compare` chooses among the settings of its `tune` block, and the number of runs that this took
    is told with the result.
    """

    paper: ClassVar[str] = "arXiv 2508.12531 (tuned hyper-parameters as a control)"
    tuned_by: ClassVar[Literal["balance", "validation_loss"]] = "validation_loss"
    name: str = "sft_tuned"
