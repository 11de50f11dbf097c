"""A tiny model in a folder, and rows of three groups, a pool of three categories and probes in files."""

import json

import pytest
from models_for_tests import saved_model

from dualselect.diagnostic import read_diagnostic


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return saved_model(folder, seed=3)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    responses = {"sums": "It is {n}.", "songs": "la la {n} la", "lists": "one, two, {n}"}
    task = [
        {"prompt": f"{kind} number {n}", "completion": text.format(n=n), "kind": kind, "id": f"{kind}-{n}"}
        for kind, text in responses.items()
        for n in range(9)
    ]
    safe = [
        {
            "prompt": f"may I do {'bad ' * (n % 3)}deed {n}",
            "completion": f"I'm sorry, I cannot help with {'theft hate fraud'.split()[n % 3]} {n}.",
            "category": "theft hate fraud".split()[n % 3],
            "id": f"safe-{n}",
        }
        for n in range(22)
    ]
    for name, rows in (("task", task), ("pool", safe[:18]), ("probes", safe[18:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def given(model_folder, files, tmp_path):
    """Settings of a small diagnostic, by name."""
    return {
        "model_name_or_path": str(model_folder),
        "task_data": [str(files / "task.jsonl")],
        "reference_data": [str(files / "pool.jsonl")],
        "probe_data": [str(files / "probes.jsonl")],
        "output_dir": str(tmp_path / "diagnostic"),
        "per_device_train_batch_size": 3,
        "selection_warmup_steps": 2,
        "learning_rate": 1e-2,
        "reference_top_k": 4,
        "lora_r": 4,
        "batches": 2,
        "use_cpu": True,
        "disable_tqdm": True,
        "max_length": 256,
    }


@pytest.fixture
def settings(given):
    """Makes the settings of a small diagnostic, with changes."""
    return lambda **changes: read_diagnostic(None, given | changes)
