"""Row formats: which columns hold the prompt and the response, and how a row becomes a conversation."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dualselect.data.turns import Turn, is_transcript, text_of, turns_of_messages, turns_of_transcript
from dualselect.errors import DataError


Row = Mapping[str, Any]

NO_RESPONSE = "empty response"


@dataclass(frozen=True)
class Conversation:
    """What every row format comes down to.

    Attributes:
        prompt: All turns before the response.
        response: The assistant's last turn.
        rejected: Another response to the same prompt, empty if there is none.
    """

    prompt: list[Turn]
    response: str
    rejected: str = ""

    @property
    def lacks(self) -> str:
        """Why nothing can be learned from it, empty if something can."""
        if not self.response.strip():
            return NO_RESPONSE
        return "" if self.prompt[-1]["content"].strip() else "empty prompt"


@dataclass(frozen=True)
class RowFormat:
    """One way to write a row.

    Attributes:
        columns: Columns that a row must have.
        sentence: What is taken from where, for people.
        convert: Makes the conversation of a row; its second argument names the row in errors.
    """

    columns: tuple[str, ...]
    sentence: str
    convert: Callable[[Row, str], Conversation]


def format_of(row: Row, place: str) -> RowFormat:
    """The first format whose columns the row has; those with a value decide, unless none fits.

    Raises:
        DataError: None fits; the message says which columns were found.
    """
    present: Collection[str]
    for present in ({column for column, value in row.items() if value is not None}, row.keys()):
        for known in FORMATS:
            if all(column in present for column in known.columns):
                return known
    found = ", ".join(map(repr, row)) or "none"
    wanted = "; ".join(" + ".join(known.columns) for known in FORMATS)
    raise DataError(
        f"{place}: the columns fit no known row format (found: {found}). Rename them to one of: {wanted}. "
        "A CSV file needs a header line with these names"
    )


def with_rejected_as_response(row: Row, place: str) -> Row:
    """The row with its rejected response in the place of the response.

    Raises:
        DataError: It has none, or no column that it could stand for.
    """
    column = next((column for column in ("chosen", "completion") if row.get(column) is not None), None)
    if column is None or row.get("rejected") is None:
        found = ", ".join(map(repr, row)) or "none"
        raise DataError(
            f"{place}: #rejected needs a column rejected beside chosen or completion (found: {found}): take #rejected "
            "off the source"
        )
    return {**row, column: row["rejected"], "rejected": None}


def sentence_of(counts: Counter[str]) -> str:
    """What was taken from which columns, with row counts where a source mixes formats."""
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{sentence} ({count:,} rows)" for sentence, count in counts.items())


def _messages(row: Row, place: str) -> Conversation:
    turns = turns_of_messages(row["messages"], "messages", place)
    return Conversation(*_split(turns, "messages", place), _rejected(row, turns[:-1], place))


def _transcript(row: Row, place: str) -> Conversation:
    turns = _whole(row["chosen"], "chosen", place)
    prompt, response = _split(turns, "chosen", place)
    if not row.get("rejected"):
        return Conversation(prompt, response)
    others = _whole(row["rejected"], "rejected", place)
    same = others[:-1] == prompt and others[-1]["role"] == "assistant"
    return Conversation(prompt, response, others[-1]["content"] if same else "")


def _continued(column: str) -> Callable[[Row, str], Conversation]:
    def convert(row: Row, place: str) -> Conversation:
        prompt = _prompt(row["prompt"], place)
        prompt, response = _continuation(row[column], prompt, column, place)
        return Conversation(prompt, response, _rejected(row, prompt, place))

    return convert


def _plain(prompt_columns: tuple[str, ...], response_column: str) -> Callable[[Row, str], Conversation]:
    def convert(row: Row, place: str) -> Conversation:
        parts = [text_of(row.get(column), column, place) for column in prompt_columns]
        prompt = [{"role": "user", "content": "\n\n".join(part for part in parts if part)}]
        response = text_of(row[response_column], response_column, place)
        return Conversation(prompt, response, _rejected(row, prompt, place))

    return convert


FORMATS: tuple[RowFormat, ...] = (
    RowFormat(("prompt", "chosen"), "prompt from prompt, response from chosen", _continued("chosen")),
    RowFormat(("chosen",), "response from the last assistant turn of chosen, prompt from what is before", _transcript),
    RowFormat(("messages",), "response from the last turn of messages, prompt from those before", _messages),
    RowFormat(("prompt", "completion"), "prompt from prompt, response from completion", _continued("completion")),
    RowFormat(
        ("instruction", "output"),
        "prompt from instruction (and input), response from output",
        _plain(("instruction", "input"), "output"),
    ),
    RowFormat(("question", "answer"), "prompt from question, response from answer", _plain(("question",), "answer")),
)


def _prompt(value: Any, place: str) -> list[Turn]:
    if isinstance(value, list):
        turns = turns_of_messages(value, "prompt", place)
        if turns[-1]["role"] != "user":
            raise DataError(
                f"{place}: the last turn of prompt is by {turns[-1]['role']}: end it with a user turn; the response "
                "has its own column"
            )
        return turns
    text = text_of(value, "prompt", place)
    if not is_transcript(text):
        return [{"role": "user", "content": text}]
    turns = turns_of_transcript(text, "prompt", place)
    # the prompt of a transcript ends in an open "Assistant:"
    return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns


def _continuation(value: Any, prompt: list[Turn], column: str, place: str) -> tuple[list[Turn], str]:
    """The prompt and response of a column that holds the response alone, or the conversation with it."""
    if not isinstance(value, list) and not is_transcript(value):
        return prompt, text_of(value, column, place)
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and value[0].get("role") == "assistant":
        value = [*prompt, *value]
    turns, response = _split(_whole(value, column, place), column, place)
    asked = [turn["content"].strip() for turn in prompt if turn["role"] == "user"]
    heard = [turn["content"].strip() for turn in turns if turn["role"] == "user"]
    if asked[0] != heard[0] and asked[-1] != heard[-1]:
        raise DataError(
            f"{place}: {column} is a conversation, and prompt is not part of it: remove the column that is wrong"
        )
    return turns, response


def _rejected(row: Row, prompt: list[Turn], place: str) -> str:
    value = row.get("rejected")
    if not value:
        return ""
    return _continuation(value, prompt, "rejected", place)[1]


def _whole(value: Any, column: str, place: str) -> list[Turn]:
    if isinstance(value, list):
        return turns_of_messages(value, column, place)
    return turns_of_transcript(text_of(value, column, place), column, place)


def _split(turns: list[Turn], column: str, place: str) -> tuple[list[Turn], str]:
    if turns[-1]["role"] != "assistant":
        raise DataError(
            f"{place}: the last turn of {column} is by {turns[-1]['role']}, so there is no response to learn: end the "
            "conversation with an assistant turn, or remove the row"
        )
    return turns[:-1], turns[-1]["content"]
