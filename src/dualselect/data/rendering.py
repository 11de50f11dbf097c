"""A conversation as text, and where in that text the response is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from dualselect.errors import DataError, ModelError


_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant"}


@dataclass(frozen=True)
class Rendered:
    """The text of a row.

    Attributes:
        text: Prompt and response as the tokenizer reads them, special tokens written out.
        start: Characters before the response.
    """

    text: str
    start: int

    @property
    def prompt(self) -> str:
        """What comes before the response."""
        return self.text[: self.start]


class ChatText:
    """Conversations in the chat template of the tokenizer.

    Raises:
        ModelError: The tokenizer has no chat template.
    """

    add_special_tokens = False  # the template writes them

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no chat template: set "
                "prompt_format: human_assistant, or give it a template (tokenizer.chat_template, or a file named "
                "chat_template.jinja in the model's folder)"
            )
        self._tokenizer = tokenizer

    def __call__(self, row: Mapping[str, Any], place: str) -> Rendered:
        """The text of a row.

        Raises:
            DataError: The template refuses the row, or writes the prompt differently when the response follows.
        """
        prompt = self._apply(row, row["prompt"], place, add_generation_prompt=True)
        text = self._apply(row, [*row["prompt"], *row["completion"]], place, add_generation_prompt=False)
        start = len(prompt)
        # a template may strip the blanks that end its generation prompt
        while not text.startswith(prompt[:start]) and prompt[start - 1].isspace():
            start -= 1
        if not text.startswith(prompt[:start]):
            raise DataError(
                f"{place}: the chat template does not begin the whole conversation with its own prompt (which ends in "
                f"{prompt[-40:]!r}), so it cannot be told where the response begins: use a template whose generation "
                "prompt is the beginning of an assistant turn, or prompt_format: human_assistant"
            )
        return Rendered(text, start)

    def _apply(
        self, row: Mapping[str, Any], turns: Sequence[Mapping[str, Any]], place: str, *, add_generation_prompt: bool
    ) -> str:
        tools = row.get("tools") or None
        options = {key: value for key, value in (row.get("chat_template_kwargs") or {}).items() if value is not None}
        try:
            text = self._tokenizer.apply_chat_template(
                list(turns),
                tools=json.loads(tools) if isinstance(tools, str) else tools,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **options,
            )
        except (jinja2.TemplateError, json.JSONDecodeError, TypeError) as error:
            raise DataError(
                f"{place}: the chat template refuses the row ({error}): change the row's turns, or set "
                "prompt_format: human_assistant"
            ) from error
        return str(text)


class HumanAssistantText:
    r"""Conversations as "Human: ...\nAssistant: ... <eos>", the text of the paper's scripts.

    Raises:
        ModelError: The tokenizer has no end token.
    """

    add_special_tokens = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._end_token = end_token_of(tokenizer)

    def __call__(self, row: Mapping[str, Any], place: str) -> Rendered:
        """The text of a row; earlier turns stand on lines of their own."""
        turns = row["prompt"] if not isinstance(row["prompt"], str) else [{"role": "user", "content": row["prompt"]}]
        lines = [f"{_SPEAKERS[turn['role']]}: {turn['content']}\n" for turn in turns]
        prompt = "".join(lines) + "Assistant: "
        text = f"{prompt}{response_of(row)} {self._end_token}"
        return Rendered(text, len(prompt))


class PlainText:
    """Prompt, response and end token one after the other, for rows whose prompt and completion are plain text.

    Raises:
        ModelError: The tokenizer has no end token.
    """

    add_special_tokens = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._end_token = end_token_of(tokenizer)

    def __call__(self, row: Mapping[str, Any], place: str) -> Rendered:
        """The text of a row."""
        prompt, response = row["prompt"], response_of(row)
        text = prompt + response + ("" if response.endswith(self._end_token) else self._end_token)
        return Rendered(text, len(prompt))


def renderer(
    tokenizer: PreTrainedTokenizerBase, prompt_format: str, *, plain: bool = False
) -> ChatText | HumanAssistantText | PlainText:
    """What writes a row as text: called with a row and what a message calls it.

    Args:
        tokenizer: Of the model.
        prompt_format: `chat` or `human_assistant`.
        plain: Whether the rows are plain text, which gets no template.

    Raises:
        ModelError: The tokenizer has no template or no end token.
    """
    text_type = HumanAssistantText if prompt_format == "human_assistant" else PlainText if plain else ChatText
    return text_type(tokenizer)


def end_token_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's end token.

    Raises:
        ModelError: It has none.
    """
    if not tokenizer.eos_token:
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no end token: set "
            "tokenizer.eos_token, or use a chat template that ends turns itself with prompt_format: chat"
        )
    return str(tokenizer.eos_token)


def response_of(row: Mapping[str, Any]) -> str:
    """The text of the response, of turns or of plain text."""
    completion = row["completion"]
    return str(completion if isinstance(completion, str) else completion[-1]["content"])
