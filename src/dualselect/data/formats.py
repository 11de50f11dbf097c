"""Row formats: which columns hold the prompt and the response, and how a row becomes a conversation."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dualselect.data.choices import answer_among, lettered, prompt_lines
from dualselect.data.extras import COMMON_COLUMNS, system_of, template_values
from dualselect.data.turns import (
    Turn,
    content_of,
    is_empty,
    is_transcript,
    text_of,
    turns_of_messages,
    turns_of_transcript,
)
from dualselect.data.values import has_value, parsed_text
from dualselect.errors import DataError


Row = Mapping[str, Any]

NO_RESPONSE = "empty response"


@dataclass(frozen=True)
class Conversation:
    """What every row format comes down to.

    Attributes:
        prompt: All turns before the response.
        completion: The assistant's last turn.
        rejected: Another response to the same prompt, empty if there is none.
        template: What the chat template is given in addition to the turns: `tools`, `chat_template_kwargs`.
        cut_turns: Turns behind the response, which are left out.
        left_out: Columns of the row that are not used.
    """

    prompt: list[Turn]
    completion: Turn
    rejected: str = ""
    template: Mapping[str, Any] = field(default_factory=dict)
    cut_turns: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def response(self) -> str:
        """The text of the response."""
        return content_of(self.completion)

    @property
    def lacks(self) -> str:
        """Why nothing can be learned from it, empty if something can."""
        if is_empty(self.completion):
            return NO_RESPONSE
        last = self.prompt[-1]
        return "empty prompt" if last["role"] == "user" and not content_of(last).strip() else ""


@dataclass(frozen=True)
class RowFormat:
    """One way to write a row.

    Attributes:
        columns: Columns that a row must have.
        sentence: What is taken from where, for people.
        convert: Makes the conversation of a row; its second argument names the row in errors.
        optional: Columns that are used where a row has them, in addition to `COMMON_COLUMNS` and `rejected`.
    """

    columns: tuple[str, ...]
    sentence: str
    convert: Callable[[Row, str], Conversation]
    optional: tuple[str, ...] = ()


def format_of(row: Row, place: str) -> RowFormat:
    """The first format whose columns the row has; those with a value decide, unless none fits.

    Raises:
        DataError: None fits; the message says which columns were found.
    """
    present = {column for column, value in row.items() if value is not None}
    known = known_format(present) or known_format(row.keys())
    if known is not None:
        return known
    found = ", ".join(map(repr, row)) or "none"
    wanted = "; ".join(" + ".join(known.columns) for known in FORMATS)
    raise DataError(
        f"{place}: the columns fit no known row format (found: {found}). Rename them to one of: {wanted}. "
        "Or map them: --columns prompt=YOUR_COLUMN,completion=YOUR_OTHER_COLUMN. "
        "A CSV file needs a header line with these names"
    )


def known_format(columns: Collection[str]) -> RowFormat | None:
    """The first format whose columns are all there, None if there is none."""
    return next((known for known in FORMATS if all(column in columns for column in known.columns)), None)


def conversation_of(row: Row, place: str) -> Conversation:
    """A row as a conversation, with its system prompt and tools, and the names of the columns that are not used.

    Raises:
        DataError: The row fits no format, or a column holds what cannot be used.
    """
    known = format_of(row, place)
    found = known.convert(row, place)
    used = {*known.columns, *known.optional, *COMMON_COLUMNS, "rejected"}
    left_out = [column or "(no name)" for column, value in row.items() if column not in used and has_value(value)]
    return replace(
        found,
        prompt=[*system_of(row, found.prompt, place), *found.prompt],
        template=template_values(row, place),
        left_out=(*left_out, *found.left_out),
    )


def with_rejected_as_response(row: Row, place: str) -> Row:
    """The row with its rejected response in the place of the response.

    Raises:
        DataError: It has none, or no column that it could mean.
    """
    column = next((column for column in ("chosen", "completion") if row.get(column) is not None), None)
    if column is None or row.get("rejected") is None:
        found = ", ".join(map(repr, row)) or "none"
        raise DataError(
            f"{place}: #rejected needs a column rejected next to chosen or completion (found: {found}): take "
            "#rejected off the source"
        )
    return {**row, column: row["rejected"], "rejected": None}


def sentence_of(counts: Counter[str]) -> str:
    """What was taken from which columns, with row counts where a source mixes formats."""
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{sentence} ({count:,} rows)" for sentence, count in counts.items())


def plain_prompt(row: Row, columns: Iterable[str], place: str) -> str:
    """The texts of some columns with blank lines between them; choices are lettered."""
    parts = []
    for column in columns:
        if column in CHOICES and has_value(row.get(column)):
            parts.append(prompt_lines(*lettered(row[column], column, place)))
        else:
            parts.append(text_of(row.get(column), column, place))
    return "\n\n".join(part for part in parts if part)


def _conversation_list(column: str) -> Callable[[Row, str], Conversation]:
    def convert(row: Row, place: str) -> Conversation:
        turns = turns_of_messages(row[column], column, place)
        found = _split(turns, column, place)
        return _with_rejected(row, found, place)

    return convert


def _transcript(row: Row, place: str) -> Conversation:
    found = _split(_whole(row["chosen"], "chosen", place), "chosen", place)
    if not row.get("rejected"):
        return found
    other = _split(_whole(row["rejected"], "rejected", place), "rejected", place)
    if other.prompt != found.prompt:
        return replace(found, left_out=("rejected",))
    return replace(found, rejected=other.response, left_out=_lost_of_rejected(other))


def _continued(column: str) -> Callable[[Row, str], Conversation]:
    def convert(row: Row, place: str) -> Conversation:
        prompt = _prompt(row["prompt"], row, place)
        return _with_rejected(row, _continuation(row[column], prompt, column, place), place)

    return convert


def _plain(prompt_columns: tuple[str, ...], response_column: str) -> Callable[[Row, str], Conversation]:
    def convert(row: Row, place: str) -> Conversation:
        prompt = [*_history(row, place), {"role": "user", "content": plain_prompt(row, prompt_columns, place)}]
        choices = next((column for column in prompt_columns if column in CHOICES and has_value(row.get(column))), None)
        if choices is None:
            response = text_of(row[response_column], response_column, place)
        else:
            letters, texts = lettered(row[choices], choices, place)
            response = answer_among(row[response_column], letters, texts, response_column, place)
        return _with_rejected(row, Conversation(prompt, {"role": "assistant", "content": response}), place)

    return convert


CONVERSATION_COLUMNS = ("messages", "conversations", "conversation")
CHOICES = ("choices", "options")
PLAIN_CONTEXT = ("input", "context", *CHOICES)
"""Columns that are a part of the prompt where a row has them."""


def _plain_format(prompt: str, response: str) -> RowFormat:
    context = tuple(column for column in PLAIN_CONTEXT if column not in (prompt, response))
    return RowFormat(
        (prompt, response),
        f"prompt from {prompt} (and {', '.join(context)}, history, system), response from {response}",
        _plain((prompt, *context), response),
        (*context, "history"),
    )


FORMATS: tuple[RowFormat, ...] = (
    RowFormat(
        ("prompt", "chosen"), "prompt from prompt, response from chosen", _continued("chosen"), ("context", "history")
    ),
    RowFormat(("chosen",), "response from the last assistant turn of chosen, prompt from what is before", _transcript),
    *(
        RowFormat(
            (column,),
            f"response from the last assistant turn of {column}, prompt from those before",
            _conversation_list(column),
        )
        for column in CONVERSATION_COLUMNS
    ),
    *(
        RowFormat(
            ("prompt", column),
            f"prompt from prompt (and context, history, system), response from {column}",
            _continued(column),
            ("context", "history"),
        )
        for column in ("completion", "response")
    ),
    *(
        _plain_format(prompt, response)
        for prompt, response in (
            ("instruction", "output"),
            ("instruction", "response"),
            ("instruction", "completion"),
            ("question", "answer"),
            ("question", "answerKey"),
            ("question", "response"),
            ("query", "response"),
            ("query", "answer"),
            ("prompt", "output"),
            ("input", "output"),
        )
    ),
)


def _prompt(value: Any, row: Row, place: str) -> list[Turn]:
    value = parsed_text(value, list)
    if isinstance(value, list):
        turns = turns_of_messages(value, "prompt", place)
        if turns[-1]["role"] not in ("user", "tool", "function"):
            raise DataError(
                f"{place}: the last turn of prompt is by {turns[-1]['role']}: end it with a user turn; the response "
                "has its own column"
            )
        return turns
    text = text_of(value, "prompt", place)
    if not is_transcript(text):
        return [*_history(row, place), {"role": "user", "content": plain_prompt(row, ("prompt", "context"), place)}]
    turns = turns_of_transcript(text, "prompt", place)
    # the prompt of a transcript ends in an open "Assistant:"
    return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns


def _history(row: Row, place: str) -> list[Turn]:
    """The turns of `history`: pairs of a prompt and a response, or turns."""
    value = parsed_text(row.get("history"), list)
    if not has_value(value):
        return []
    if isinstance(value, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        texts = [(role, said) for pair in value for role, said in zip(("user", "assistant"), pair, strict=True)]
        return [{"role": role, "content": text_of(said, "history", place)} for role, said in texts]
    if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
        return turns_of_messages(value, "history", place)
    raise DataError(f"{place}: history is neither a list of [prompt, response] pairs nor of turns: rewrite it so")


def _continuation(value: Any, prompt: list[Turn], column: str, place: str) -> Conversation:
    """The conversation of a column that holds the response alone, or the conversation with it."""
    value = parsed_text(value, list) if _is_turn_list(parsed_text(value, list)) else value
    if not isinstance(value, list) and not is_transcript(value):
        return Conversation(prompt, {"role": "assistant", "content": text_of(value, column, place)})
    if _is_turn_list(value) and (value[0].get("role") or value[0].get("from")) in ("assistant", "gpt"):
        value = [*prompt, *value]
    found = _split(_whole(value, column, place), column, place)
    asked = [content_of(turn).strip() for turn in prompt if turn["role"] == "user"]
    heard = [content_of(turn).strip() for turn in found.prompt if turn["role"] == "user"]
    if asked and heard and asked[0] != heard[0] and asked[-1] != heard[-1]:
        raise DataError(
            f"{place}: {column} is a conversation, and prompt is not part of it: remove the column that is wrong"
        )
    return found


def _is_turn_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _with_rejected(row: Row, found: Conversation, place: str) -> Conversation:
    value = row.get("rejected")
    if not value:
        return found
    other = _continuation(value, found.prompt, "rejected", place)
    return replace(found, rejected=other.response, left_out=_lost_of_rejected(other))


def _lost_of_rejected(other: Conversation) -> tuple[str, ...]:
    """Keys of a rejected turn that are lost, since only its text is kept."""
    return tuple(f"rejected.{key}" for key in other.completion if key not in ("role", "content", "train", "weight"))


def _whole(value: Any, column: str, place: str) -> list[Turn]:
    if isinstance(value, list):
        return turns_of_messages(value, column, place)
    return turns_of_transcript(text_of(value, column, place), column, place)


def _split(turns: list[Turn], column: str, place: str) -> Conversation:
    """The conversation up to its last assistant turn; what is behind it has no response and is cut."""
    last = next((number for number in reversed(range(len(turns))) if turns[number]["role"] == "assistant"), None)
    if last is None:
        raise DataError(
            f"{place}: the last turn of {column} is by {turns[-1]['role']}, and no turn is by the assistant, so there "
            "is not a response to learn: end the conversation with an assistant turn, or remove the row"
        )
    return Conversation(turns[:last], turns[last], cut_turns=len(turns) - 1 - last)
