"""The calibrated filter: how strongly a task example conflicts with the safe responses, and when it is dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualselect.selection.conformal import HarmlessScores
from dualselect.selection.probe import Probe


LEAST_SPREAD = 1e-6
HARMLESS, PROBE = "harmless/", "probe"
"""Names of stored tensors: the scores of each kind of harmless row, and the weights of the probe."""


@dataclass(frozen=True)
class ConflictFilter:
    """Two signs of conflict in one score, calibrated on held-out harmless rows.

        conflict = max((-cosine - m_1) / s_1, (probe - m_2) / s_2)

    The cosine is that of an example's gradient to the direction of the pool (`conflict_direction`); the probe reads
    the hidden states of its response (`Probe`). m and s are mean and standard deviation over the harmless rows, so
    that both have one unit. The larger one counts, because some harmful rows show in their gradient alone and some
    in their representation alone (measured: docs/results.md).

    Attributes:
        probe: None without contrasts in the pool; then the cosine decides.
        scale: ((m_1, s_1), (m_2, s_2)).
        harmless: Conflict scores of the harmless rows, by kind.
    """

    probe: Probe | None
    scale: tuple[tuple[float, float], tuple[float, float]]
    harmless: HarmlessScores

    @classmethod
    def calibrated(
        cls, probe: Probe | None, cosines: Tensor, probe_scores: Tensor, kinds: Sequence[str]
    ) -> "ConflictFilter":
        """Calibrate on n harmless rows; rows with a value that is not finite are left out.

        Args:
            probe: The probe; None without one.
            cosines: Shape (n,).
            probe_scores: Shape (n,); not used without a probe.
            kinds: Kind of each row.
        """
        finite = torch.isfinite(cosines) & torch.isfinite(probe_scores)
        scale = (_scale(-cosines[finite]), _scale(probe_scores[finite]))
        unscored = cls(probe, scale, HarmlessScores({}))
        scores = unscored.conflicts(cosines, probe_scores).masked_fill(~finite, torch.nan)
        return cls(probe, scale, HarmlessScores.of(scores, kinds))

    def conflicts(self, cosines: Tensor, probe_scores: Tensor) -> Tensor:
        """Conflict score of each row, in standard deviations of harmless rows.

        Args:
            cosines: Shape (n,).
            probe_scores: Shape (n,); not used without a probe.

        Returns:
            Shape (n,), float64.
        """
        (center, spread), (probe_center, probe_spread) = self.scale
        by_gradient = (-cosines.double() - center) / spread
        if self.probe is None:
            return by_gradient
        return by_gradient.maximum((probe_scores.double() - probe_center) / probe_spread)

    def threshold(self, rate: float) -> float:
        """The largest conflict score that is kept; see `HarmlessScores.threshold`."""
        return self.harmless.threshold(rate)

    def facts(self, rate: float) -> dict[str, Any]:
        """Facts for the selection log: scores of the harmless rows, and what an unknown kind would suffer."""
        return {
            "harmless_conflicts": {kind: scores.tolist() for kind, scores in self.harmless.by_kind.items()},
            "dropped_if_left_out": self.harmless.dropped_if_left_out(rate),
        }

    def as_values(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and plain values, to be stored."""
        tensors = {HARMLESS + kind: scores for kind, scores in self.harmless.by_kind.items()}
        if self.probe is None:
            return tensors, {"scale": self.scale, "offset": None}
        return tensors | {PROBE: self.probe.weights}, {"scale": self.scale, "offset": self.probe.offset}

    @classmethod
    def of_values(cls, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> "ConflictFilter":
        """The filter of `as_values`; other tensors are ignored."""
        by_kind = {name.removeprefix(HARMLESS): it for name, it in tensors.items() if name.startswith(HARMLESS)}
        probe = None if values["offset"] is None else Probe(tensors[PROBE], values["offset"])
        (center, spread), (probe_center, probe_spread) = values["scale"]
        return cls(probe, ((center, spread), (probe_center, probe_spread)), HarmlessScores(by_kind))


def _scale(values: Tensor) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    spread = float(values.double().std(correction=0))
    return float(values.double().mean()), max(spread, LEAST_SPREAD)
