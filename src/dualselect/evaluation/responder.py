"""Who answers prompts: a local model, or a server that speaks OpenAI's protocol."""

import os
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import jinja2
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualselect.data.rendering import ChatText, HumanAssistantText
from dualselect.data.tokens import PromptFormat
from dualselect.errors import DataError, ModelError
from dualselect.evaluation.generation import Response, response_batches
from dualselect.evaluation.generation_settings import GenerationSettings
from dualselect.evaluation.results import ModelRecord, whole_characters
from dualselect.evaluation.store import key_of
from dualselect.evaluation.suite import Prompt
from dualselect.judges.parallel import as_they_come
from dualselect.models.fingerprints import adapter_scaling, model_fingerprint, tokenizer_fingerprint
from dualselect.system.visible import without_credentials


TIMEOUT_SECONDS = 300.0
RETRIES = 5


class Responder(Protocol):
    """Answers prompts.

    Attributes:
        record: Who answers.
        decisive: Everything other than the model and the prompt that decides a response.
    """

    record: ModelRecord
    decisive: dict[str, Any]

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Refuse prompts that cannot be asked, before the first is.

        Raises:
            DataError: One cannot.
        """

    def responses(self, prompts: Sequence[Prompt], done: Collection[int]) -> Iterator[dict[int, Response]]:
        """Answer prompts.

        Args:
            prompts: All prompts.
            done: Numbers of prompts that are answered already; they may be answered again.

        Yields:
            Responses by the number of their prompt, as they come.
        """


class LocalResponder:
    """A model in this process.

    Args:
        name: As the user wrote it.
        path: Where it is.
        model: The model, with its adapter.
        tokenizer: Its tokenizer.
        settings: How to generate.
        prompt_format: How prompts are written.

    Raises:
        ModelError: The tokenizer has no chat template and prompts are to be written in it.
    """

    def __init__(
        self,
        name: str,
        path: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: GenerationSettings,
        prompt_format: PromptFormat,
    ) -> None:
        self.model, self.tokenizer, self.prompt_format = model, tokenizer, prompt_format
        self._settings = settings
        self._text = HumanAssistantText(tokenizer) if prompt_format == "human_assistant" else ChatText(tokenizer)
        fingerprint = key_of(model_fingerprint(model), adapter_scaling(model), tokenizer_fingerprint(tokenizer))
        self.record = ModelRecord(name, path, fingerprint)
        self.decisive = settings.decisive | {"prompt_format": prompt_format}

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Responder.check`."""
        for prompt in prompts:
            self._rendered(prompt)

    def responses(self, prompts: Sequence[Prompt], done: Collection[int]) -> Iterator[dict[int, Response]]:
        """See `Responder.responses`; batches do not depend on what is done."""
        return response_batches(
            self.model,
            self.tokenizer,
            [self._rendered(prompt) for prompt in prompts],
            self._settings,
            done=done,
            add_special_tokens=self._text.add_special_tokens,
        )

    def _rendered(self, prompt: Prompt) -> str:
        if isinstance(self._text, HumanAssistantText):
            # without its last blank, which belongs to the first word of a response as training saw it
            return self._text({"prompt": prompt.messages, "completion": ""}, prompt.id).prompt.rstrip(" ")
        try:
            return str(self.tokenizer.apply_chat_template(prompt.messages, tokenize=False, add_generation_prompt=True))
        except (jinja2.TemplateError, TypeError) as error:
            raise DataError(
                f"prompt {prompt.id}: the chat template of {self.record.name} refuses it ({error}): change its turns, "
                "or leave it out"
            ) from error


class ServerResponder:
    """A model behind an OpenAI-compatible server.

    A failed request is sent again after growing waits. When one fails for good, those under way are finished and kept,
    and the evaluation ends with an error; the same command then asks for the missing ones only. A prompt that the
    server itself turns down (too long, a content filter) has no response, and the reason in its place; when it turns
    down all of them, that is an error.

    Args:
        url: Address, such as http://127.0.0.1:8000/v1.
        model: Name of the model there.
        settings: How to generate; `batch_size` requests are under way at once.
        timeout_seconds: Longest wait for one response.
        retries: How often a failed request is sent again.

    Raises:
        ModelError: The package openai is missing.
    """

    def __init__(
        self,
        url: str,
        model: str,
        settings: GenerationSettings,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
    ) -> None:
        try:
            import openai
        except ImportError:
            raise ModelError("a server is asked with the package openai: pip install 'dualselect[eval]'") from None
        self._client = openai.OpenAI(
            base_url=url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            timeout=timeout_seconds,
            max_retries=retries,
        )
        self._failures: tuple[type[Exception], ...] = (
            openai.OpenAIError,
            ValueError,  # a reply that is not JSON, or not the JSON of a chat completion
            LookupError,
            TypeError,
            AttributeError,
        )
        self._turned_down = (openai.BadRequestError, openai.UnprocessableEntityError)
        self._settings = settings
        address = without_credentials(url)
        self.record = ModelRecord(model, address, key_of(address.rstrip("/"), model))
        self.decisive = settings.decisive
        self._request: dict[str, Any] = {
            "model": model,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
        }
        if settings.temperature > 0:
            self._request |= {"top_p": settings.top_p, "seed": settings.seed}

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Responder.check`; what a server takes is known when it is asked."""

    def responses(self, prompts: Sequence[Prompt], done: Collection[int]) -> Iterator[dict[int, Response]]:
        """See `Responder.responses`.

        Raises:
            ModelError: A request fails for good, or the server turns down every prompt.
        """
        missing = [number for number in range(len(prompts)) if number not in done]
        asked = [prompts[number] for number in missing]
        problems = []
        for position, response in as_they_come(self._ask, asked, self._settings.batch_size):
            problems += [response.problem] if response.problem else []
            yield {missing[position]: response}
        if problems and len(problems) == len(prompts):
            raise ModelError(
                f"{self.record.path} gave no response to any of {len(prompts)} prompts; the last was {problems[-1]}. "
                "See to --model_name and --max_new_tokens, and to what the server's log says"
            )

    def _ask(self, prompt: Prompt, unwanted: threading.Event) -> Response:
        try:
            reply = self._client.chat.completions.create(messages=prompt.messages, **self._request)  # type: ignore[arg-type]
            message, cut = reply.choices[0].message, reply.choices[0].finish_reason == "length"
            text, thought = _said(message), _thought(message)
        except self._turned_down as error:
            return Response("", False, f"turned down by the server: {_one_line(error)}")
        except self._failures as error:
            said = _one_line(error)
            raise ModelError(
                f"{self.record.path} gave no response to prompt {prompt.id} ({type(error).__name__}: {said}). What "
                "was answered is kept: see to the server (address, --model_name, OPENAI_API_KEY), then type the same "
                "command again"
            ) from error
        response = Response.of(whole_characters(text), cut=cut)
        if not thought:
            return response
        # a server that sets thoughts aside itself; without an answer it ended before they did
        both = "\n\n".join(one for one in (thought, response.thought) if one)
        finished = response.is_thought_finished and bool(response.text)
        return replace(response, thought=both, is_thought_finished=finished)


def _said(message: Any) -> str:
    """The text of a message, or of its refusal where the server keeps that apart.

    Raises:
        ValueError: It has neither.
    """
    if "content" not in message.model_fields_set and not message.refusal:
        raise ValueError("the reply has a message without content")
    text = message.content or message.refusal or ""
    if not isinstance(text, str):
        raise ValueError(f"the reply has a message of {type(text).__name__} and not of text")
    return text


def _thought(message: Any) -> str:
    """The thoughts that a server keeps apart from the text of a message."""
    for name in ("reasoning_content", "reasoning"):
        thought = getattr(message, name, None)
        if isinstance(thought, str) and thought.strip():
            return whole_characters(thought).strip()
    return ""


def _one_line(error: Exception) -> str:
    cause = f": {error.__cause__}" if error.__cause__ else ""
    said = " ".join(without_credentials(f"{error}{cause}").split())[:300]
    key = os.environ.get("OPENAI_API_KEY")
    return said.replace(key, "[key]") if key else said
