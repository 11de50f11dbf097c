"""DualSelect itself, and its ablations: the same trainer under other settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTTrainer

from dualselect.data.source_rows import SourceRows
from dualselect.methods.method import Method, Need
from dualselect.runs.settings import RunSettings
from dualselect.runs.train import dualselect_trainer
from dualselect.selection import Choice, choose_highest
from dualselect.training.references import ChooseReferences


NEVER = 10**9
"""Steps between refreshes that no run has."""


@dataclass(frozen=True)
class DualSelect(Method):
    """`DualSelectTrainer`; its settings are those of `dualselect train`.

    Attributes:
        differences: Settings of the training that make an ablation; they win over those of the run.
        random_references: Choose references by lot at each refresh, whatever their scores.
    """

    paper: ClassVar[str] = "Two to Tango, arXiv 2606.09866"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool", "per_example_gradients"})
    name: str = "dualselect"
    differences: Mapping[str, Any] = field(default_factory=dict)
    random_references: bool = False

    @property
    def setting_names(self) -> list[str]:
        """None of its own: its settings are those of `dualselect train`, and an ablation is what it is."""
        return []

    def facts(self) -> dict[str, Any]:
        """What a run's config.yaml says of its method; `dualselect train` can repeat all but random references."""
        facts = super().facts()
        return facts if self.random_references else facts | {"command": "dualselect train"}

    def build_trainer(
        self,
        settings: RunSettings,
        rows: Mapping[str, SourceRows],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
    ) -> SFTTrainer:
        """`DualSelectTrainer`."""
        chooser = random_references(settings.training.seed) if self.random_references else None
        return dualselect_trainer(settings, rows, model, tokenizer, chooser)


def random_references(seed: int) -> ChooseReferences:
    """A chooser that draws references at random, whatever their scores; the ablation of the choice."""
    generator = torch.Generator().manual_seed(seed)

    def choose(scores: Tensor, count: int) -> Choice:
        return choose_highest(torch.rand(len(scores), generator=generator), count)

    return choose


def _variants() -> dict[str, DualSelect]:
    fixed_budget = {"task_token_budget": "0.9"}
    named: dict[str, dict[str, Any]] = {
        "dualselect": {},
        # which references, and when
        "dualselect_fixed_references": {"reference_refresh": "steps", "reference_refresh_steps": NEVER},
        "dualselect_no_contrast": {"reference_contrast": "none", **fixed_budget},
        "dualselect_contrast": {"reference_contrast": "compliance"},
        "dualselect_excess": {"preservation_loss": "excess"},
        "dualselect_ce": {"preservation_loss": "ce"},
        "dualselect_kl": {"preservation_loss": "kl"},
        # which half of the method does it
        "dualselect_filter_only": {"correction": "none"},
        "dualselect_correction_only": {"task_token_budget": "1.0"},
        # which term of the scores does it; a budget of `auto` reads cosines, so the loss alone needs a fixed one
        "dualselect_cosine_only": {"task_loss_weight": 0.0, "reference_loss_weight": 0.0},
        "dualselect_loss_only": {"conflict_weight": 0.0, **fixed_budget},
        # how much is kept
        "dualselect_budget_auto": {"task_token_budget": "auto", "reference_contrast": "compliance"},
        "dualselect_budget_0.9": fixed_budget,
        "dualselect_budget_0.75": {"task_token_budget": "0.75"},
        # the dial
        **{f"dualselect_rho_{rho:g}": {"rho": rho} for rho in (0.0, 0.2, 0.5, 1.0, 2.0)},
    }
    variants = {name: DualSelect(name, differences) for name, differences in named.items()}
    random = "dualselect_random_references"
    return variants | {random: DualSelect(random, random_references=True)}


VARIANTS: dict[str, DualSelect] = _variants()
"""DualSelect and its ablations, by name."""
