"""Greedy responses of a model, in batches."""

from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def generate_responses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[dict[str, str]]],
    *,
    max_new_tokens: int = 64,
    batch_size: int = 32,
    description: str = "Generating",
    progress: bool = True,
) -> list[str]:
    """Answer each prompt greedily, in the model's chat template.

    Args:
        model: A causal language model; evaluated without dropout, left in the mode it was in.
        tokenizer: Its tokenizer, with a chat template; left as it was.
        prompts: Lists of turns that end with the user's.
        max_new_tokens: Longest response, in tokens; generation stops at the end of the turn.
        batch_size: Prompts answered at once; neighbours of like length, left-padded.
        description: What the progress bar says.
        progress: Whether there is one.

    Returns:
        One response per prompt, in order, without special tokens.
    """
    texts = [
        str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)) for turns in prompts
    ]
    by_length = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    responses = [""] * len(texts)
    side, pad, training = tokenizer.padding_side, tokenizer.pad_token, model.training
    tokenizer.padding_side = "left"
    if pad is None:  # as Llama 3 comes; what stands left of a prompt is masked, so any token does
        tokenizer.pad_token = tokenizer.eos_token
    model.eval()
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": False, "use_cache": True}
    # a model's own generation_config may ask for sampling; greedy has no use for its temperatures
    settings |= {"temperature": None, "top_p": None, "top_k": None, "pad_token_id": tokenizer.pad_token_id}
    settings["eos_token_id"] = end_tokens(model, tokenizer)
    try:
        with tqdm(total=len(texts), desc=description, unit="prompt", leave=False, disable=not progress) as bar:
            for start in range(0, len(by_length), batch_size):
                numbers = by_length[start : start + batch_size]
                batch = tokenizer(
                    [texts[number] for number in numbers], return_tensors="pt", padding=True, add_special_tokens=False
                ).to(model.device)
                with torch.no_grad():
                    tokens = model.generate(**batch, **settings)
                found = tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
                for number, response in zip(numbers, found, strict=True):
                    responses[number] = response.strip()
                bar.update(len(numbers))
    finally:
        tokenizer.padding_side, tokenizer.pad_token = side, pad
        model.train(training)
    return responses


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a response: the model's and tokenizer's own, and what the chat template ends a turn with.

    A model saved without its generation settings would otherwise talk on past the end of its turn.
    """
    known = model.generation_config.eos_token_id
    ends = set(known) if isinstance(known, list) else {known}
    ends.add(tokenizer.eos_token_id)
    turns = [{"role": "user", "content": "REQUEST"}, {"role": "assistant", "content": "RESPONSE"}]
    behind = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition("RESPONSE")[2].strip()
    first = tokenizer(behind, add_special_tokens=False)["input_ids"][:1]
    ends.update(token for token in first if token in tokenizer.added_tokens_decoder)
    return sorted(end for end in ends if end is not None)
