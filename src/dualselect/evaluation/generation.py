"""Responses of a model in batches, in the model's chat template; thoughts are set aside here."""

import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from dualselect.evaluation.generation_settings import GenerationSettings
from dualselect.judges.thoughts import is_thought_mark, opens_thought, set_thoughts_aside


@dataclass(frozen=True)
class Response:
    """What a model said.

    Attributes:
        text: The answer, without thoughts, special tokens and blanks around it.
        cut: Whether it was ended by its longest length, and not by the model.
        problem: Why there is none; empty for a response.
        thought: What the model thought before it answered, kept and never judged.
        is_thought_finished: Whether the thoughts ended before the response did.
    """

    text: str
    cut: bool
    problem: str = ""
    thought: str = ""
    is_thought_finished: bool = True

    @classmethod
    def of(cls, text: str, *, cut: bool, opened: bool = False) -> "Response":
        """A response whose thoughts are set aside.

        Args:
            text: All that the model said.
            cut: Whether it was ended by its longest length.
            opened: Whether the prompt ended inside a thought.
        """
        said = set_thoughts_aside(text, opened=opened, cut=cut)
        return cls(said.answer, cut, thought=said.thought, is_thought_finished=said.is_finished)

    @property
    def unscored_reason(self) -> str:
        """Why there is no answer that could be judged; empty where there is one."""
        if self.problem or self.is_thought_finished:
            return self.problem
        if self.cut:
            return "the response was cut inside its thoughts: raise max_new_tokens"
        return "the response ends inside its thoughts, without an answer"


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
        One response per prompt, in order, without special tokens and thoughts; empty where a response does not get
        past its thoughts.
    """
    texts = [
        str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)) for turns in prompts
    ]
    responses = [""] * len(texts)
    settings = GenerationSettings(max_new_tokens, batch_size)
    batches = math.ceil(len(texts) / batch_size)
    # by tokens and not by prompts: a large batch is a minute of work
    with tqdm(
        total=batches * max_new_tokens, desc=description, unit="token", leave=False, disable=not progress
    ) as bar:
        found = response_batches(model, tokenizer, texts, settings, each_token=bar.update)
        for number, batch in enumerate(found, 1):
            for place, response in batch.items():
                responses[place] = response.text
            bar.update(number * max_new_tokens - bar.n)
    return responses


def response_batches(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    settings: GenerationSettings,
    *,
    done: Collection[int] = (),
    add_special_tokens: bool = False,
    each_token: Callable[[], object] = lambda: None,
) -> Iterator[dict[int, Response]]:
    """Answer rendered prompts, and give each batch as it is finished.

    Batches are made of all texts, done or not: how much padding a prompt has can change a response in
    rare cases, so a batch that is only partly done is done again as a whole, and what an interrupted evaluation says
    does not depend on where it was interrupted.

    Args:
        model: A causal language model; evaluated without dropout, left in the mode it was in.
        tokenizer: Its tokenizer; left as it was.
        texts: Prompts as the model reads them.
        settings: How.
        done: Numbers of texts that need no response; a batch of these only is left out.
        add_special_tokens: Whether the tokenizer has to add them; a chat template writes them itself.
        each_token: Called after each token of a batch.

    Yields:
        For each batch the responses by the number of their text.
    """
    by_length = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    side, pad, training = tokenizer.padding_side, tokenizer.pad_token, model.training
    tokenizer.padding_side = "left"
    if pad is None:  # as Llama 3 comes; what is left of a prompt is masked, so any token does
        tokenizer.pad_token = tokenizer.eos_token
    model.eval()
    ends = end_tokens(model, tokenizer)
    options = _options(settings) | {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": ends}
    options["stopping_criteria"] = [_EachToken(each_token)]
    try:
        for start in range(0, len(by_length), settings.batch_size):
            numbers = by_length[start : start + settings.batch_size]
            if all(number in done for number in numbers):
                continue
            batch = tokenizer(
                [texts[number] for number in numbers],
                return_tensors="pt",
                padding=True,
                add_special_tokens=add_special_tokens,
            ).to(model.device)
            with torch.no_grad(), _own_randomness([texts[number] for number in numbers], settings):
                tokens = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
            said = _decoded(tokens, tokenizer)
            ended = torch.isin(tokens, torch.tensor(ends, device=tokens.device)).any(1).tolist()
            yield {
                number: Response.of(text, cut=not end, opened=opens_thought(texts[number]))
                for number, text, end in zip(numbers, said, ended, strict=True)
            }
    finally:
        tokenizer.padding_side, tokenizer.pad_token = side, pad
        model.train(training)


def _decoded(tokens: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Responses as text without special tokens, but for those that tell thoughts from answers."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    marks = {token for token in special if is_thought_mark(token)}
    if not marks:
        return [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]
    # keep the control tokens that delimit gpt-oss channels, so that thoughts can be recognized
    marks |= special & {"<|start|>", "<|end|>", "<|message|>", "<|return|>", "<|call|>", "<|constrain|>"}
    others = re.compile("|".join(re.escape(token) for token in sorted(special - marks, key=len, reverse=True)) or "$^")
    return [others.sub("", text).strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=False)]


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a response: the model's and tokenizer's own, and what the chat template ends a turn with.

    A model saved without its generation settings would otherwise talk on past the end of its turn.
    """
    known = model.generation_config.eos_token_id
    ends = set(known) if isinstance(known, list) else {known}
    ends.add(tokenizer.eos_token_id)
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": "REQUEST"}, {"role": "assistant", "content": "RESPONSE"}]
        behind = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition("RESPONSE")[2].strip()
        first = tokenizer(behind, add_special_tokens=False)["input_ids"][:1]
        ends.update(token for token in first if token in tokenizer.added_tokens_decoder)
    return sorted(end for end in ends if end is not None)


# A model's own generation_config may ask for anything, and holds wherever a call says nothing; only what is recorded
# may decide.
_PLAIN: dict[str, Any] = {
    "use_cache": True,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_new_tokens": 0,
}


def _options(settings: GenerationSettings) -> dict[str, Any]:
    options = _PLAIN | {"max_new_tokens": settings.max_new_tokens}
    if settings.temperature == 0:
        return options | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return options | {
        "do_sample": True,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "typical_p": 1.0,
    }


class _EachToken(StoppingCriteria):  # type: ignore[misc]
    """Stops nothing; it is what generation calls after each token."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._tell()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@contextmanager
def _own_randomness(texts: Sequence[str], settings: GenerationSettings) -> Iterator[None]:
    """Random numbers that depend on the seed and the batch, and on nothing that was generated before."""
    with torch.random.fork_rng(enabled=settings.temperature > 0):
        if settings.temperature > 0:
            digest = hashlib.sha256(repr((settings.seed, texts)).encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        yield
