"""A small comparison: a tiny random model, built-in rows, runs of about a second."""

import pytest
import yaml
from models_for_tests import saved_model

from dualselect.comparison import run_queue


@pytest.fixture(scope="session")
def start_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    return saved_model(folder)


@pytest.fixture
def forked(monkeypatch):
    """Fork runs from this process, which has imported everything; a new interpreter takes ten seconds."""
    monkeypatch.setattr(run_queue, "START_METHOD", "fork")


@pytest.fixture
def comparison_file(tmp_path, start_model):
    """Writes the file of a comparison; keyword arguments replace or, when None, remove its keys."""

    def write(name="compare.yaml", **changes):
        content = {
            "output_dir": str(tmp_path / "comparison"),
            "model_name_or_path": str(start_model),
            "task_data": ["builtin:task:12", "builtin:risky:4"],
            "reference_data": ["builtin:refusal:6"],
            "per_device_train_batch_size": 4,
            "selection_warmup_steps": 1,
            "reference_contrast": "compliance",
            "reference_fraction": 0.25,
            "harmless_drop_rate": 0.1,
            "num_train_epochs": 1,
            "learning_rate": 1e-2,
            "max_length": 160,
            "use_cpu": True,
            "disable_tqdm": True,
            "report_to": "none",
            "seeds": [0],
            "methods": {"sft": None, "ema": {"decay": 0.5}},
            "evaluation": {"suites": ["builtin:2"], "max_new_tokens": 3},
        }
        content = {key: value for key, value in (content | changes).items() if value is not None}
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write
