"""Names, folders and GGUF files to a model that can be trained, and its tokenizer."""

from dualselect.models.embedded import EMBEDDED_MODEL, cache_dir
from dualselect.models.loading import load_model


__all__ = ["EMBEDDED_MODEL", "cache_dir", "load_model"]
