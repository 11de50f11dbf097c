"""The loss of each example: the supervised positions alone give what all positions would."""

from contextlib import nullcontext

import pytest
import torch
from models_for_tests import ARCHITECTURES, tiny_model
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from trl.trainer.utils import add_fused_lm_head

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.models import losses
from dualselect.models.losses import response_cross_entropy, response_kl, score_responses


VOCABULARY = 40


def fused_model(architecture, *, lora=False, vocabulary=VOCABULARY):
    model = tiny_model(architecture, vocabulary)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    if not lora:
        return model
    torch.manual_seed(1)
    adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(model, adapter)


def batch(side):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, VOCABULARY, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    # one row without padding, one with a single supervised token, one with a gap between supervised tokens
    wanted = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0, 0, 0, 0]])
    if side == "left":
        mask[1, :3], mask[2, :1] = 0, 0
    else:
        mask[1, 6:], mask[2, 5:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.where(wanted * mask == 1, ids, IGNORED_LABEL)}


def explicit_losses(model, inputs):
    """Cross-entropy from the whole logits, one example after the other."""
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, :-1].float()
    pairs = zip(logits, inputs["labels"][:, 1:], strict=True)
    return torch.stack([nn.functional.cross_entropy(row, labels) for row, labels in pairs])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_and_gradients_are_those_of_the_whole_logits(architecture, side):
    model = fused_model(architecture, lora=True)
    inputs = batch(side)
    found, expected = response_cross_entropy(model, inputs), explicit_losses(model, inputs)
    assert torch.allclose(found, expected, rtol=1e-5)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    pairs = zip(*(torch.autograd.grad(losses.sum(), weights) for losses in (found, expected)), strict=True)
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-7) for one, other in pairs)


def test_only_supervised_tokens_are_scored_and_the_metrics_are_those_of_the_whole_batch():
    model, inputs = fused_model("llama"), batch("right")
    found, whole = score_responses(model, inputs), model(**inputs, fused_lm_head=True)
    supervised = inputs["labels"][:, 1:] != IGNORED_LABEL
    assert found.log_probs.shape == (1, supervised.sum())
    assert torch.allclose(found.log_probs[0], whole.log_probs[supervised], rtol=1e-5)
    assert found.label_mask.sum() == whole.label_mask.sum()
    assert found.entropy.sum().item() == pytest.approx(whole.entropy.sum().item(), rel=1e-5)
    assert found.is_top1.sum() == whole.is_top1.sum()


def test_the_model_is_left_as_it_was():
    model, inputs = fused_model("llama", lora=True), batch("right")
    before = model(**inputs).logits
    response_cross_entropy(model, inputs)
    with pytest.raises(KeyError):
        response_cross_entropy(model, {name: value for name, value in inputs.items() if name != "labels"})
    assert torch.equal(model(**inputs).logits, before)


def test_kl_is_that_of_the_whole_logits_and_zero_at_the_start():
    model, inputs = fused_model("llama", lora=True), batch("left")
    tokens = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    found = response_kl(model, model.disable_adapter, inputs)
    now = model(**tokens).logits[:, :-1].log_softmax(-1)
    with model.disable_adapter():
        start = model(**tokens).logits[:, :-1].log_softmax(-1)
    each = (start.exp() * (start - now)).sum(-1)
    expected = [
        row[kept].mean().item() for row, kept in zip(each, inputs["labels"][:, 1:] != IGNORED_LABEL, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert response_kl(model, nullcontext, inputs).tolist() == [0.0, 0.0, 0.0]


class LiveTensors(TorchDispatchMode):
    """The most bytes of large tensors that are alive at once."""

    def __init__(self, at_least):
        super().__init__()
        self.at_least, self.alive, self.peak = at_least, {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() >= self.at_least:
                self.alive[tensor.untyped_storage().data_ptr()] = StorageWeakRef(tensor.untyped_storage())
        self.alive = {key: reference for key, reference in self.alive.items() if not reference.expired()}
        self.peak = max(self.peak, len(self.alive))
        return result


def test_kl_holds_a_few_tensors_of_a_chunk_however_many_tokens_there_are(monkeypatch):
    monkeypatch.setattr(losses, "KL_CHUNK_POSITIONS", 8)
    model = fused_model("gemma3", lora=True)
    ids = torch.randint(0, VOCABULARY, (4, 40))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    whole = response_kl(model, model.disable_adapter, inputs)
    chunk = 8 * 4096 * 4
    large = fused_model("llama", vocabulary=4096)
    adapter = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    large = get_peft_model(large, adapter)
    with LiveTensors(chunk) as watched:
        response_kl(large, large.disable_adapter, inputs)
    assert 0 < watched.peak <= losses.KL_TENSORS + 2  # the two (V, H) matrices of the model are alive as well
    monkeypatch.setattr(losses, "KL_CHUNK_POSITIONS", 10_000)
    assert response_kl(model, model.disable_adapter, inputs).tolist() == pytest.approx(whole.tolist(), rel=1e-5)
