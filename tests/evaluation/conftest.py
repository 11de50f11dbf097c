"""A small model, its adapter, a run directory, and a scripted server."""

import pytest
import torch
from models_for_tests import saved_model, tiny_model
from peft import LoraConfig, get_peft_model
from servers_for_tests import Server
from tokenizers_for_tests import chatml_tokenizer

from dualselect.system.files import write_text


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "start"
    return saved_model(folder, seed=3)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, model_folder):
    """A finished run of `dualselect train`, as far as evaluations look at it."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    model = tiny_model("llama", len(chatml_tokenizer()), seed=3)
    torch.manual_seed(0)  # the adapter is drawn: the same one whichever tests ran before
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = "moved/away"
    adapted.save_pretrained(folder / "adapter")
    write_text(folder / "config.yaml", f"model_name_or_path: {model_folder}\ndtype: float32\n")
    return folder


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()
