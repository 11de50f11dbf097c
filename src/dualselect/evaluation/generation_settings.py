"""How responses are generated."""

from dataclasses import asdict, dataclass
from typing import Any

from dualselect.errors import ConfigError


@dataclass(frozen=True)
class GenerationSettings:
    """How responses are generated; recorded with every result.

    Attributes:
        max_new_tokens: Longest response, in tokens.
        batch_size: Prompts answered at once; of a server, requests at once.
        temperature: 0 is greedy; above it, the temperature of sampling.
        top_p: Sample among the likeliest tokens that have this probability together, in (0, 1].
        seed: Of sampling.
    """

    max_new_tokens: int = 256
    batch_size: int = 16
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: One is; the message names it.
        """
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: set it to 1 or more")
        if not self.temperature >= 0:
            raise ConfigError(f"temperature is {self.temperature}: set it to 0 (greedy) or above")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}: set it above 0, at most 1")
        if self.top_p < 1 and self.temperature == 0:
            raise ConfigError(
                f"top_p is {self.top_p} and temperature 0, which takes the likeliest token and ignores top_p: set a "
                "temperature, or leave top_p out"
            )

    @property
    def decisive(self) -> dict[str, Any]:
        """Those that decide what a response is; batches only decide how fast."""
        settings = asdict(self)
        del settings["batch_size"]
        if self.temperature == 0:
            del settings["seed"], settings["top_p"]
        return settings
