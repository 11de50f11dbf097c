"""Folders of models, tokenizers and classifiers whose own code writes a file when it runs."""

import json

from models_for_tests import saved_model
from tokenizers_for_tests import chatml_tokenizer


CODE = """
import pathlib
pathlib.Path({marker!r}).write_text("the code ran")
from transformers import LlamaConfig, LlamaForCausalLM
class MarkedConfig(LlamaConfig):
    model_type = "marked"
class MarkedModel(LlamaForCausalLM):
    config_class = MarkedConfig
"""


def model_with_code(folder, marker, architecture="MarkedModel"):
    """A model of an unknown architecture whose folder holds the code for it."""
    saved_model(folder)
    (folder / "marked.py").write_text(CODE.format(marker=str(marker)))
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"model_type": "marked", "architectures": [architecture]}
    autos = ("AutoModelForCausalLM", "AutoModelForSequenceClassification")
    config["auto_map"] = {"AutoConfig": "marked.MarkedConfig", **dict.fromkeys(autos, "marked.MarkedModel")}
    path.write_text(json.dumps(config))
    return folder


def tokenizer_with_code(folder, marker):
    """A tokenizer whose folder holds the code for it."""
    chatml_tokenizer().save_pretrained(folder)
    (folder / "marked.py").write_text(CODE.format(marker=str(marker)))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"tokenizer_class": "MarkedTokenizer"}
    config["auto_map"] = {"AutoTokenizer": [None, "marked.MarkedTokenizer"]}
    path.write_text(json.dumps(config))
    return folder
