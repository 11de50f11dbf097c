"""What a judge is: prompts and responses in, verdicts out."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


Turns = list[dict[str, str]]


@dataclass(frozen=True)
class Judged:
    """One response to judge.

    Attributes:
        id: Name of the row.
        prompt: The turns before the response.
        response: The text under judgement.
    """

    id: str
    prompt: Turns
    response: str


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt."""

    id: str
    prompt: Turns
    first: str
    second: str


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one item: a value, or unscored with a reason; never a silent default.

    Attributes:
        value: What the judge measures; None is unscored.
        reason: Why it is unscored; empty for a value.
        raw: The judge's own words, such as its whole reply.
        passing: Whether what left it unscored may pass, such as a server that did not answer, so that asking again
            is worthwhile.
    """

    value: float | None
    reason: str = ""
    raw: str = ""
    passing: bool = False


@runtime_checkable
class Judge(Protocol):
    """Scores one response at a time.

    Attributes:
        name: As the user wrote it, such as "openai:rubric".
        measure: What a value means: "refusal" (1 refused, 0 not), "harmfulness" (1 to 5), "unsafe" (0 to 1, 1 is a
            harmful compliance), "reward" (any number, higher is better).
        prompt_hash: Hash of everything that shapes a verdict: wording, model, settings; see `hash_of`.

    A judge may also have a `note`, such as "weak: ...", which stands under the table of its numbers.
    """

    name: str
    measure: str
    prompt_hash: str

    def verdicts(self, items: Sequence[Judged]) -> Iterator[tuple[int, Verdict]]:
        """Judge each item once.

        Yields:
            Position in `items` and verdict, as they come, in any order. Whoever stores them as they come can ask again
            for the missing and the unscored ones only.
        """
        ...


@runtime_checkable
class PairwiseJudge(Protocol):
    """Prefers one of two responses; the attributes are those of `Judge`, without a measure."""

    name: str
    prompt_hash: str

    def preferences(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Verdict]]:
        """Judge each pair once, in the order given: 1 the first is better, 0 the second, 0.5 a tie.

        Yields:
            Position in `pairs` and verdict, as they come, in any order.
        """
        ...


@dataclass(frozen=True)
class JudgeSettings:
    """Where judges run and how patient to be.

    Attributes:
        base_url: OpenAI-compatible endpoint, such as "http://127.0.0.1:8000/v1"; None is OPENAI_BASE_URL from the
            environment, else OpenAI itself.
        model: The judge model's name at the endpoint.
        request: Fields of each request beside model and messages, such as {"max_completion_tokens": 2000}; they
            replace the default, temperature 0 and 512 tokens.
        concurrency: Requests in flight at once.
        timeout_seconds: Longest wait for one reply.
        retries: How often a failed request is sent again.
        backoff_seconds: Wait before the first retry; each further wait is twice as long, up to a minute.
        batch_size: Texts a local classifier reads at once.
        device: Where it runs, such as "cuda:0"; None is the GPU when there is one.
    """

    base_url: str | None = None
    model: str | None = None
    request: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0, "max_tokens": 512})
    concurrency: int = 8
    timeout_seconds: float = 60.0
    retries: int = 4
    backoff_seconds: float = 1.0
    batch_size: int = 8
    device: str | None = None


def hash_of(**parts: Any) -> str:
    """The first 16 hexadecimal digits of the sha256 of the parts as canonical JSON.

    Args:
        parts: Everything that shapes a judge's verdicts, as values that JSON can hold.
    """
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]
