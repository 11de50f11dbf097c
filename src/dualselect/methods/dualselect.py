"""DualSelect and its ablations, which are the same trainer with other settings."""

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
"""More steps between refreshes than any run has."""


@dataclass(frozen=True)
class DualSelect(Method):
    """`DualSelectTrainer`; its settings are those of `dualselect train`.

    Attributes:
        differences: Training settings that define an ablation; they override those of the run.
        random_references: Select references at random at each refresh.
    """

    paper: ClassVar[str] = "Two to Tango, arXiv 2606.09866"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool", "per_example_gradients"})
    name: str = "dualselect"
    differences: Mapping[str, Any] = field(default_factory=dict)
    random_references: bool = False

    @property
    def setting_names(self) -> list[str]:
        """Empty: its settings are those of `dualselect train`."""
        return []

    def facts(self) -> dict[str, Any]:
        """The method entry of config.yaml; `dualselect train` can repeat everything except random references."""
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
    """A selection of random references, for the ablation."""
    generator = torch.Generator().manual_seed(seed)

    def choose(scores: Tensor, count: int) -> Choice:
        return choose_highest(torch.rand(len(scores), generator=generator), count)

    return choose


def _variants() -> dict[str, DualSelect]:
    fixed_budget = {"task_token_budget": "0.9"}
    named: dict[str, dict[str, Any]] = {
        "dualselect": {},
        # reference selection and refresh
        "dualselect_fixed_references": {"reference_refresh": "steps", "reference_refresh_steps": NEVER},
        "dualselect_no_contrast": {"reference_contrast": "none", **fixed_budget},
        "dualselect_one_side": {"reference_sides": "one"},
        "dualselect_paper": {
            "preservation_loss": "ce",
            "reference_contrast": "none",
            "reference_sides": "one",
            "task_token_budget": "0.9",
            "task_budget_scope": "step",
            "rho": 0.2,
        },
        "dualselect_excess": {"preservation_loss": "excess"},
        "dualselect_ce": {"preservation_loss": "ce"},
        "dualselect_kl": {"preservation_loss": "kl"},
        # filter or correction alone
        "dualselect_filter_only": {"correction": "none"},
        "dualselect_correction_only": {"task_token_budget": "1.0"},
        # one term of the scores alone; `auto` uses cosines, so loss_only needs a fixed budget
        "dualselect_cosine_only": {"task_loss_weight": 0.0, "reference_loss_weight": 0.0},
        "dualselect_loss_only": {"conflict_weight": 0.0, **fixed_budget},
        # token budgets
        "dualselect_budget_auto": {"task_token_budget": "auto", "reference_contrast": "compliance"},
        "dualselect_budget_0.9": fixed_budget,
        "dualselect_budget_0.75": {"task_token_budget": "0.75"},
        # strength of the correction
        **{f"dualselect_rho_{rho:g}": {"rho": rho} for rho in (0.0, 0.2, 0.5, 1.0, 2.0)},
    }
    variants = {name: DualSelect(name, differences) for name, differences in named.items()}
    random = "dualselect_random_references"
    return variants | {random: DualSelect(random, random_references=True)}


VARIANTS: dict[str, DualSelect] = _variants()
"""DualSelect and its ablations, by name."""
