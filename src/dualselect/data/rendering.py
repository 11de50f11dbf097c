"""A conversation as text, and where in that text the supervised turns are."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from dualselect.data.supervision import FLAGS, Scope, overridden_flags, supervised_turns
from dualselect.data.template_dates import date_of as date_of
from dualselect.data.template_dates import fixed_date as fixed_date
from dualselect.data.template_dates import uses_date as uses_date
from dualselect.data.turns import REASONING_KEYS, is_empty
from dualselect.errors import DataError, ModelError


Turns = list[dict[str, Any]]

_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant"}
_MARKER = "\ue000"
"""A private-use character, which replaces the text of a turn where a template is asked how it writes the turn."""


@dataclass(frozen=True)
class Rendered:
    """The text of a row.

    Attributes:
        text: Prompt and response as the tokenizer reads them, special tokens written out.
        spans: Start and end of each supervised turn, in characters, in order.
        unused: Keys of turns, and columns, that the text lacks in whole or in part, with the number of turns.
        cut: The end of the generation prompt that the text does not have, empty if it has all of it.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    unused: Mapping[str, int] = field(default_factory=dict)
    cut: str = ""

    @property
    def start(self) -> int:
        """Characters before the last supervised turn."""
        return self.spans[-1][0] if self.spans else len(self.text)

    @property
    def prompt(self) -> str:
        """What comes before the last supervised turn."""
        return self.text[: self.start]


class ChatText:
    """Conversations in the chat template of the tokenizer.

    Args:
        tokenizer: Of the model.
        scope: Which turns are supervised.

    Raises:
        ModelError: The tokenizer has no chat template.
    """

    add_special_tokens = False  # the template writes them

    def __init__(self, tokenizer: PreTrainedTokenizerBase, scope: Scope = "last") -> None:
        if not tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no chat template: set "
                "prompt_format: human_assistant, or give it a template (tokenizer.chat_template, or a file named "
                "chat_template.jinja in the model's folder)"
            )
        self._tokenizer, self._scope = tokenizer, scope
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        self._special_tokens = [str(token) for token in added if token.special]
        self._form = 0

    def __call__(self, row: Mapping[str, Any], place: str) -> Rendered:
        """The text of a row.

        Raises:
            DataError: The template refuses the row, or writes the turns before a response differently when it follows.
        """
        given = [*row["prompt"], *row["completion"]]
        turns = [_for_template(turn) for turn in given]
        text = self._apply(row, turns, place)
        unused = self._unused(row, turns, text, place) | overridden_flags(given, self._scope)
        if self._scope == "everything":
            return Rendered(text, ((0, len(text)),), unused)
        spans, cut, partly = [], "", Counter[str]()
        for position in supervised_turns(given, self._scope):
            if is_empty({key: value for key, value in turns[position].items() if key not in unused}):
                continue
            start, missing = self._start(row, turns, position, text, place)
            end = self._end(row, turns, position, text, place)
            lost = _lost_keys(turns[position], text[start:end])
            if "content" in lost and self._applies(row, _marked(turns, position), text, place):
                continue  # a template for content in parts, say, which leaves out plain text
            partly.update(key for key in lost if key not in unused)
            spans.append((start, end))
            cut = cut or missing
        return Rendered(text, tuple(spans), unused | partly, cut)

    def _start(self, row: Mapping[str, Any], turns: Turns, position: int, text: str, place: str) -> tuple[int, str]:
        """Where a turn begins, and what the generation prompt has there and the text does not."""
        if position == 0:
            return _common_prefix(text, self._apply(row, _marked(turns, position), place)), ""
        prompt = self._apply(row, turns[:position], place, add_generation_prompt=True)
        start = len(prompt)
        # a template may strip the blanks that end its generation prompt
        while not text.startswith(prompt[:start]) and prompt[start - 1].isspace():
            start -= 1
        if text.startswith(prompt[:start]):
            return start, ""
        # The response itself may begin as the rest of the generation prompt does; another response does not.
        other = self._apply(row, _marked(turns, position), place)
        start = min(_common_prefix(prompt, text), _common_prefix(prompt, other))
        if start < len(self._apply(row, turns[:position], place).rstrip()):
            raise DataError(
                f"{place}: the chat template writes the turns before a response differently when the response follows "
                f"(they end in {prompt[-40:]!r}; the whole conversation differs from character {start} on), so it is "
                "unknown where the response begins: use a template whose generation prompt is the beginning of an "
                "assistant turn (--chat_template_path FILE.jinja), or set prompt_format: human_assistant"
            )
        return start, prompt[start:]

    def _end(self, row: Mapping[str, Any], turns: Turns, position: int, text: str, place: str) -> int:
        """Where a turn ends, its end-of-turn token included and the header of the next turn not."""
        if position == len(turns) - 1:
            return len(text)
        alone = self._apply(row, turns[: position + 1], place)
        if text.startswith(alone):
            return len(alone)
        # Some templates write the last turn in another way than earlier ones: what follows its text is compared.
        marked_alone = self._apply(row, _marked(turns[: position + 1], position), place)
        ending = alone[len(alone) - _common_suffix(alone, marked_alone) :]
        said = len(text) - _common_suffix(text, self._apply(row, _marked(turns, position), place))
        if text.startswith(ending, said):
            return said + len(ending)
        ends = [said + len(token) for token in self._special_tokens if text.startswith(token, said)]
        return max(ends, default=said + _common_prefix(ending, text[said:]))

    def _unused(self, row: Mapping[str, Any], turns: Turns, text: str, place: str) -> dict[str, int]:
        """Keys and columns without which the text is the same, and how many turns have them."""
        unused: dict[str, int] = {}
        for key in sorted({key for turn in turns for key in turn} - {"role", "content"}):
            without = [{name: value for name, value in turn.items() if name != key} for turn in turns]
            if self._applies(row, without, text, place):
                unused[key] = sum(key in turn for turn in turns)
        for column in ("tools", "chat_template_kwargs"):
            if row.get(column) and self._applies({**row, column: None}, turns, text, place):
                unused[column] = 1
        return unused

    def _applies(self, row: Mapping[str, Any], turns: Turns, text: str, place: str) -> bool:
        try:
            return self._apply(row, turns, place) == text
        except DataError:
            return False

    def _apply(self, row: Mapping[str, Any], turns: Turns, place: str, *, add_generation_prompt: bool = False) -> str:
        forms = _forms(turns)
        first = min(self._form, len(forms) - 1)  # what one row needed, the next one will
        errors: list[Exception] = []
        for number in [first, *(other for other in range(len(forms)) if other != first)]:
            try:
                text = self._tokenizer.apply_chat_template(
                    forms[number],
                    tools=_tools(row),
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    **_without_none(row.get("chat_template_kwargs") or {}),
                )
            except (jinja2.TemplateError, json.JSONDecodeError, TypeError) as error:
                errors.append(error)
                continue
            if len(forms) > 1:
                self._form = number
            return str(text)
        raise DataError(
            f"{place}: the chat template refuses the row ({errors[0]}): change the row's turns, name another template "
            "with --chat_template_path FILE.jinja, or set prompt_format: human_assistant"
        ) from errors[0]


class HumanAssistantText:
    r"""Conversations as "Human: ...\nAssistant: ... <eos>", the text of the paper's scripts.

    Args:
        tokenizer: Of the model.
        scope: Which turns are supervised. With `all`, each assistant turn ends in the end token.

    Raises:
        ModelError: The tokenizer has no end token.
    """

    add_special_tokens = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, scope: Scope = "last") -> None:
        self._end_token, self._scope = end_token_of(tokenizer), scope

    def __call__(self, row: Mapping[str, Any], place: str) -> Rendered:
        """The text of a row; earlier turns are on lines of their own."""
        turns = _turns(row["prompt"], "user") + _turns(row["completion"], "assistant")
        wanted = supervised_turns(turns, self._scope)
        text, spans = "", []
        for position, turn in enumerate(turns):
            last = position == len(turns) - 1
            ended = last or (self._scope == "all" and turn["role"] == "assistant")
            text += f"{_SPEAKERS.get(turn['role'], turn['role'].capitalize())}: "
            start = len(text)
            text += f"{turn.get('content') or ''}{f' {self._end_token}' if ended else ''}{'' if last else chr(10)}"
            if position in wanted or (last and self._scope == "last"):
                spans.append((start, len(text) - (0 if last else 1)))
        if self._scope == "everything":
            spans = [(0, len(text))]
        return Rendered(text, tuple(spans), _extra_keys(turns) | overridden_flags(turns, self._scope))


class PlainText:
    """Prompt, response and end token one after the other, for rows whose prompt and completion are plain text.

    Args:
        tokenizer: Of the model.
        scope: `everything` supervises the prompt too.

    Raises:
        ModelError: The tokenizer has no end token.
    """

    add_special_tokens = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, scope: Scope = "last") -> None:
        self._end_token, self._scope = end_token_of(tokenizer), scope

    def __call__(self, row: Mapping[str, Any], place: str) -> Rendered:
        """The text of a row."""
        prompt, response = row["prompt"], response_of(row)
        text = prompt + response + ("" if response.endswith(self._end_token) else self._end_token)
        return Rendered(text, ((0 if self._scope == "everything" else len(prompt), len(text)),))


def renderer(
    tokenizer: PreTrainedTokenizerBase, prompt_format: str, *, plain: bool = False, scope: Scope = "last"
) -> ChatText | HumanAssistantText | PlainText:
    """What writes a row as text: called with a row and what a message calls it.

    Args:
        tokenizer: Of the model.
        prompt_format: `chat` or `human_assistant`.
        plain: Whether the rows are plain text, which gets no template.
        scope: Which turns are supervised.

    Raises:
        ModelError: The tokenizer has no template or no end token.
    """
    text_type = HumanAssistantText if prompt_format == "human_assistant" else PlainText if plain else ChatText
    return text_type(tokenizer, scope)


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
    """The text of the response, of turns or of plain text; empty for a turn without content."""
    completion = row["completion"]
    return str(completion if isinstance(completion, str) else completion[-1].get("content") or "")


def _turns(value: Any, role: str) -> Turns:
    return [{"role": role, "content": value}] if isinstance(value, str) else [dict(turn) for turn in value]


def _lost_keys(turn: Mapping[str, Any], text: str) -> list[str]:
    """Keys whose text does not appear in the text of the turn; blanks may differ."""
    seen = "".join(text.split())
    said = {key: turn[key] for key in ("content", *REASONING_KEYS) if isinstance(turn.get(key), str)}
    return [key for key, value in said.items() if "".join(value.split()) not in seen]


def _extra_keys(turns: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for turn in turns:
        for key, value in turn.items():
            if value is not None and key not in ("role", "content", *FLAGS):
                counts[key] = counts.get(key, 0) + 1
    return counts


def _for_template(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn as templates expect it: no empty keys, no flags, arguments of tool calls as objects.

    Only the keys of the turn itself are dropped where they are None: a null in the arguments of a call is content.
    """
    kept = {key: value for key, value in turn.items() if value is not None and key not in FLAGS}
    calls = _parsed(kept.get("tool_calls"))
    if isinstance(calls, list):
        kept["tool_calls"] = [_with_arguments(call, _parsed) for call in calls]
    return kept


def _forms(turns: Turns) -> list[Turns]:
    """The turns in the forms that templates disagree on: arguments as text, a call without content as empty text."""
    forms = [turns]
    if any(isinstance(turn.get("tool_calls"), list) for turn in turns):
        forms.append([_with_text_arguments(turn) for turn in turns])
    if any("content" not in turn for turn in turns):
        forms += [[{"content": "", **turn} for turn in form] for form in forms]
    return forms


def _with_text_arguments(turn: dict[str, Any]) -> dict[str, Any]:
    calls = turn.get("tool_calls")
    if not isinstance(calls, list):
        return turn
    return turn | {"tool_calls": [_with_arguments(call, _dumped) for call in calls]}


def _with_arguments(call: Any, change: Any) -> Any:
    """A tool call with changed arguments, in the form of OpenAI or without its `function`."""
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _with_arguments(call["function"], change)}
    return {**call, "arguments": change(call["arguments"])} if "arguments" in call else dict(call)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return value
    return parsed if isinstance(parsed, dict | list) else value


def _dumped(value: Any) -> Any:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tools(row: Mapping[str, Any]) -> list[Any] | None:
    tools = row.get("tools") or None
    parsed = json.loads(tools) if isinstance(tools, str) else _without_none(tools)
    return parsed or None


def _without_none(value: Any) -> Any:
    """The value without keys that are None: Arrow gives every row the keys of all rows."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value


def _marked(turns: Turns, position: int) -> Turns:
    """The turns with another text in one of them."""
    texts = {key: _MARKER for key in ("content", *REASONING_KEYS) if key in turns[position]}
    return [*turns[:position], turns[position] | {"content": _MARKER} | texts, *turns[position + 1 :]]


def _common_prefix(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _common_suffix(one: str, other: str) -> int:
    return _common_prefix(one[::-1], other[::-1])
