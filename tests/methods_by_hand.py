"""What the tests of update rules compute by hand: plain autograd over plain logits, one example at a time."""

from itertools import pairwise

import torch
from torch.nn.functional import cross_entropy


RATE = 0.1
"""Learning rate of `followed`."""
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def trainable(trainer):
    return [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def weights(trainer):
    return flat(trainable(trainer))


def logits_and_targets(model, row):
    """Logits (S, V) and targets (S,) of the supervised tokens of a row."""
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
    places = (labels[1:] != -100).nonzero().flatten()
    return model(input_ids=ids).logits[0, places], labels[1:][places]


def example_loss(model, row):
    logits, targets = logits_and_targets(model, row)
    return cross_entropy(logits, targets)


def gradient(trainer, losses):
    """Gradient of the mean of losses, flat."""
    return flat(torch.autograd.grad(sum(losses) / len(losses), trainable(trainer)))


def recorded(trainer):
    """The rows of every optimizer step, and the weights before each and after the last; filled while it trains."""
    batches, before = [], [weights(trainer)]
    inner = trainer.update.losses

    def losses(model, inputs):
        rows = []
        for ids, labels, mask in zip(inputs["input_ids"], inputs["labels"], inputs["attention_mask"], strict=True):
            kept = mask.bool()
            rows.append({"input_ids": ids[kept].tolist(), "labels": labels[kept].tolist()})
        batches.append(rows)
        return inner(model, inputs)

    trainer.update.losses = losses
    after = trainer.update.after_step

    def after_step():
        after()
        before.append(weights(trainer))

    trainer.update.after_step = after_step
    return batches, before


def set_all(trainer, values):
    with torch.no_grad():
        for parameter, piece in zip(
            trainable(trainer), values.split([p.numel() for p in trainable(trainer)]), strict=True
        ):
            parameter.copy_(piece.view_as(parameter))


def followed(trainer, expected):
    """Train; then go through the steps again, with `expected(step, rows)` computed by hand at the same weights."""
    batches, path = recorded(trainer)
    trainer.train()
    final = weights(trainer)
    assert len(batches) == len(path) - 1
    for step, (rows, (before, after)) in enumerate(zip(batches, pairwise(path), strict=True)):
        set_all(trainer, before)
        torch.testing.assert_close((before - after) / RATE, expected(step, rows), **TOLERANCE)
    return path, final
