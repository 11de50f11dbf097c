"""Chat templates that print today's date, rendered with a fixed date."""

import functools
from datetime import date, datetime, time
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _compile_jinja_template

from dualselect.errors import ConfigError


_DATE_FUNCTION = "strftime_now"
_DIRECTIVES = "aAwdbBmyYHIMpSfjUWcxXuGV"


def uses_date(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a chat template of the tokenizer prints the date on which it is rendered (`strftime_now`)."""
    templates = tokenizer.chat_template or ""
    texts = templates.values() if isinstance(templates, dict) else [templates]
    return any(_names_date(text) for text in texts)


def fixed_date(tokenizer: PreTrainedTokenizerBase, iso_date: str) -> None:
    """Render everything from now on with one date in place of today's.

    The template of the tokenizer stays as it is, and so does what is saved of it.

    Args:
        tokenizer: The tokenizer; changed in place. A later call replaces the date.
        iso_date: The date as `YYYY-MM-DD`.

    Raises:
        ConfigError: `iso_date` is no such date.
    """
    try:
        day = date.fromisoformat(iso_date)
    except ValueError as error:
        raise ConfigError(f"the date of the chat template is {iso_date!r}: write it as YYYY-MM-DD") from error
    own: Any = tokenizer
    own.template_date = day.isoformat()
    own.get_chat_template = functools.partial(_dated_template, tokenizer)


def date_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The date set by `fixed_date`, as `YYYY-MM-DD`; None where none is set."""
    return getattr(tokenizer, "template_date", None)


def _dated_template(
    tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None, tools: list[Any] | None = None
) -> str:
    found = type(tokenizer).get_chat_template(tokenizer, chat_template, tools)
    day = date_of(tokenizer)
    return f"{_prelude(day)}{found}" if day is not None and _names_date(found) else found


@functools.lru_cache
def _prelude(iso_date: str) -> str:
    """A macro that hides `strftime_now`: functions of the caller do not reach a template."""
    noon = datetime.combine(date.fromisoformat(iso_date), time(12))
    values = {f"%-{letter}": noon.strftime(f"%{letter}").lstrip("0") or "0" for letter in "dmyjHIMSUW"}
    values |= {f"%{letter}": noon.strftime(f"%{letter}") for letter in _DIRECTIVES}
    replaced = "".join(f"|replace({directive!r},{value!r})" for directive, value in values.items())
    return f"{{%- macro {_DATE_FUNCTION}(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro -%}}"


@functools.lru_cache
def _names_date(template: str) -> bool:
    if _DATE_FUNCTION not in template:
        return False
    try:
        parsed = _compile_jinja_template(template).environment.parse(template)
    except jinja2.TemplateError:  # rendering it says what is wrong
        return False
    return any(name.name == _DATE_FUNCTION for name in parsed.find_all(jinja2.nodes.Name))
