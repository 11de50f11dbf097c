"""The representations of the pool's responses and contrasts, collected while it is scored, and the filter's probe."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dualselect.models.response_states import ExampleLosses, ResponseStates
from dualselect.selection import Probe, spread
from dualselect.system.processes import gathered


MOST_PROBED = 256
"""References of a side that the probe is fitted on, at most, so that memory does not grow with the pool."""


def probed_positions(sides: Tensor, held_out: Sequence[int]) -> list[int]:
    """References that the probe is fitted on: evenly spaced within each side, without the held-out ones."""
    found: list[int] = []
    for side in sorted(set(sides.tolist())):
        members = [position for position, one in enumerate(sides.tolist()) if one == side]
        members = [position for position in members if position not in set(held_out)] or members
        found += spread(members, MOST_PROBED)
    return sorted(found)


class Probing:
    """Collects representations of references and their contrasts, batch by batch.

    Args:
        model: The current model.
        positions: References that the probe is fitted on.
    """

    def __init__(self, model: nn.Module, positions: Sequence[int]) -> None:
        self._states, self._wanted = ResponseStates(model), set(positions)
        self._found: dict[int, tuple[Tensor, Tensor]] = {}
        self._batch: list[int] = []

    def during(self, example_losses: ExampleLosses, positions: list[int]) -> ExampleLosses:
        """The same losses of a batch of references, each followed by its contrast; their representations are kept."""
        self._collect()
        self._batch = positions
        return self._states.during(example_losses)

    def probe(self, sides: Tensor) -> Probe:
        """The probe between the contrasts of the refusals, which are compliances, and all safe responses.

        Args:
            sides: Side of each reference of the pool; 0 is the refusing side.
        """
        self._collect()
        found = {position: pair for part in gathered(self._found) for position, pair in part.items()}
        order = sorted(found)
        safe = torch.stack([found[position][0] for position in order])
        compliances = torch.stack([found[position][1] for position in order if sides[position] == 0])
        finite = [values[torch.isfinite(values).all(1)] for values in (compliances, safe)]
        return Probe.between(*finite)

    def _collect(self) -> None:
        """Keep what the last batch left."""
        if self._batch:
            states = self._states.take().cpu()
            for place, position in enumerate(self._batch):
                if position in self._wanted:
                    self._found[position] = (states[2 * place], states[2 * place + 1])
            self._batch = []
