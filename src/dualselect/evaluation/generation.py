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
        model: A causal language model; it is put into evaluation mode.
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
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    model.eval()
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": False}
    # a model's own generation_config may ask for sampling; greedy has no use for its temperatures
    settings |= {"temperature": None, "top_p": None, "top_k": None, "pad_token_id": tokenizer.pad_token_id}
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
        tokenizer.padding_side = side
    return responses
