"""Requests to an OpenAI-compatible server, with retries."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from dualselect.errors import JudgeError
from dualselect.judges.protocol import JudgeSettings, Turns
from dualselect.system.visible import without_credentials


LONGEST_WAIT_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 300.0


@dataclass(frozen=True)
class Reply:
    """The text of a reply, or a problem and whether it is temporary."""

    text: str
    problem: str = ""
    passing: bool = False


@dataclass(frozen=True)
class _Failure:
    """Why an attempt failed, whether a retry may succeed, and the requested waiting time."""

    problem: str
    passing: bool = True
    wait_seconds: float = 0.0
    nothing_listens: bool = False


class Endpoint:
    """A model behind an OpenAI-compatible server; used from several threads at once.

    Args:
        settings: Timeouts and retries.
        base_url: Address of the server; None for OpenAI itself.
        model: Name of the model at the server.
        request: Further fields of each request.

    Raises:
        JudgeError: The openai package is missing, or there is no key for OpenAI itself.
    """

    def __init__(self, settings: JudgeSettings, base_url: str | None, model: str, request: Mapping[str, Any]) -> None:
        try:
            import openai
        except ImportError:
            raise JudgeError("judges over a server need the openai package: pip install 'dualselect[eval]'") from None
        key = os.environ.get("OPENAI_API_KEY")
        if base_url is None and not key:
            raise JudgeError(
                "no server to ask: set OPENAI_API_KEY in the environment for OpenAI itself, or give the address of a "
                "server as base_url, such as http://127.0.0.1:8000/v1; one of your own needs no key"
            )
        self._openai: Any = openai
        self._client: Any = openai.OpenAI(
            api_key=key or "none", base_url=base_url, timeout=settings.timeout_seconds, max_retries=0
        )
        self._address = without_credentials(str(self._client.base_url))
        self._key = key
        self._settings, self._fields = settings, {**request, "model": model}
        self._answered = False

    def ask(self, messages: Turns, unwanted: threading.Event) -> Reply:
        """Send the messages; temporary failures are retried with backoff or after the time that the server requests.

        Args:
            messages: The conversation that the model continues.
            unwanted: Stops waiting when set.

        Raises:
            JudgeError: No request can succeed: nothing listens there, or the key, the account or the model is refused.
        """
        attempt = 0
        while isinstance(outcome := self._once(messages), _Failure):
            if outcome.nothing_listens and (not self._answered or attempt == self._settings.retries):
                raise JudgeError(
                    f"nothing answers at {self._address} ({outcome.problem}). Start the server, for example "
                    "with `vllm serve MODEL` or `transformers serve MODEL`, or correct base_url; then repeat the "
                    "command, and only what is missing is asked"
                )
            backoff = min(self._settings.backoff_seconds * 2**attempt, LONGEST_WAIT_SECONDS)
            in_time = outcome.passing and outcome.wait_seconds <= LONGEST_RETRY_AFTER_SECONDS
            spent = attempt == self._settings.retries or not in_time
            if spent or unwanted.wait(max(backoff, outcome.wait_seconds)):
                return Reply("", f"{outcome.problem} (attempts: {attempt + 1})", outcome.passing)
            attempt += 1
        return outcome

    def _once(self, messages: Turns) -> Reply | _Failure:
        try:
            response = self._client.chat.completions.with_raw_response.create(messages=messages, **self._fields)
            self._answered = True
            return _reply(response.http_response.text)
        except self._openai.APIStatusError as error:
            self._answered = True
            return self._refused(error)
        except self._openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            problem = without_credentials(f"{error.message.rstrip('.')}: {error.__cause__ or cause}".strip(": "))
            return _Failure(problem, nothing_listens=cause in {"ConnectError", "ConnectTimeout"})
        except UnicodeEncodeError:
            return _Failure("the text holds half a character (a lone surrogate), which cannot be sent", passing=False)

    def _refused(self, error: Any) -> _Failure:
        status = error.status_code
        said = " ".join((error.message if isinstance(error.body, dict) else error.response.text).split())[:300]
        said = said.replace(self._key, "[key]") if self._key else said
        at = f"the server at {self._address} answers {status} ({said})"
        if status == 401:
            raise JudgeError(f"{at}: set OPENAI_API_KEY in the environment to a key that it accepts")
        if status == 402 or error.code == "insufficient_quota":
            raise JudgeError(f"{at}: the account has nothing left; fill it up, or use another key or server")
        if status == 404:
            raise JudgeError(
                f"{at}: it has no model {self._fields['model']}, or base_url lacks its path, which often ends in /v1"
            )
        wait = _retry_after(error.response.headers.get("retry-after"))
        passing = status in {408, 409, 425, 429} or status >= 500
        return _Failure(f"the server answered {status}: {said}", passing, wait)


def _reply(body: str) -> Reply | _Failure:
    try:
        choice = json.loads(body)["choices"][0]
        text, end = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        return _Failure(f"the server's reply is not a chat completion: {body[:200]!r}")
    if not isinstance(text, str) or not text.strip():
        return Reply("", f"the judge model said nothing (finish_reason {end!r})")
    text = text.encode("utf-8", "replace").decode()  # JSON may contain lone surrogates, files must not
    if end == "length":
        # a verdict in a truncated reply may be a quotation
        return Reply(text, "the reply was cut off at the token limit; raise max_tokens in the request settings")
    return Reply(text)


def _retry_after(header: str | None) -> float:
    """Seconds to wait by a Retry-After header (a number or a date); 0 without a valid one."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header or "") - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
