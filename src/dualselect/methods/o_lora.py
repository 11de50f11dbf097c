"""O-LoRA: each task has its own adapter, in a subspace orthogonal to those of earlier tasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from safetensors.torch import load_file
from torch import Tensor

from dualselect.methods.method import Method, Run, Update, check_range, weights_of
from dualselect.models.earlier_adapters import WEIGHTS


@dataclass(frozen=True)
class OLora(Method):
    """Penalize the overlap of a new adapter with the merged ones (Wang et al., Findings of EMNLP 2023).

        L = L_task + strength * sum over layers and earlier adapters of sum_ij |(A_earlier A^T)_ij|

    A are PEFT's `lora_A` matrices, shape (rank, inputs), so that A_earlier A^T is (rank, rank). The earlier adapters
    are those of `merged_adapters`; without any it is plain fine-tuning.

    Attributes:
        strength: lambda, 0 or more; the authors use 0.5 to 5.
    """

    paper: ClassVar[str] = "O-LoRA, Wang et al., Findings of EMNLP 2023"
    name: str = "o_lora"
    strength: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "strength", low=0)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _OLoraUpdate(run, self)


class _OLoraUpdate(Update):
    def __init__(self, run: Run, method: OLora) -> None:
        super().__init__(run)
        self._strength = method.strength
        self._earlier = [load_file(Path(folder) / WEIGHTS) for folder in run.merged_adapters]

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        if not self._earlier or not self._strength:
            return gradient
        return gradient + self._strength * self._overlap_gradient()

    def _overlap_gradient(self) -> Tensor:
        """Gradient of the sum of |A_earlier A^T|, shape (P,): sign(A_earlier A^T)^T A_earlier for each A."""
        found = self.run.layout.zeros()
        shapes = {name: parameter.shape for name, parameter in self.run.layout.parameters(self.run.model).items()}
        weights = dict(self.run.layout.pieces(weights_of(self.run)))
        for name, piece in self.run.layout.pieces(found):
            if ".lora_A." not in name:
                continue
            now = weights[name].view(shapes[name])
            for adapter in self._earlier:
                before = adapter.get(name.replace(".lora_A.default.", ".lora_A."))
                if before is not None and before.shape[1] == now.shape[1]:
                    before = before.to(now)
                    piece += ((before @ now.T).sign().T @ before).view_as(piece)
        return found
