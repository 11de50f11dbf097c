"""The interface of judges: prompts and responses in, verdicts out."""

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
        response: The response to judge.
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
    """The verdict of a judge on one item: a value, or unscored with a reason; never a default.

    Attributes:
        value: Value of the judge's measure; None if unscored.
        reason: Why it is unscored; empty for a value.
        raw: Raw output of the judge, such as its full reply.
        passing: Whether the failure is temporary, such as a server that did not answer, so that a retry may succeed.
    """

    value: float | None
    reason: str = ""
    raw: str = ""
    passing: bool = False


@dataclass(frozen=True)
class JudgeAccuracy:
    """Agreement of a binary judge with human labels.

    Attributes:
        sensitivity: True positives and all positives.
        specificity: True negatives and all negatives.
        data: The labelled data.
    """

    sensitivity: tuple[int, int]
    specificity: tuple[int, int]
    data: str

    @property
    def balanced(self) -> float:
        """The mean of sensitivity and specificity, in [0, 1]."""
        (found, yes), (right, no) = self.sensitivity, self.specificity
        return (found / yes + right / no) / 2


@runtime_checkable
class Judge(Protocol):
    """Scores one response at a time.

    Attributes:
        name: Its spec, such as "openai:rubric".
        measure: What a value means: "refusal" (1 refused, 0 not), "harmfulness" (1 to 5), "unsafe" (0 to 1, 1 is a
            harmful compliance), "reward" (any number, higher is better).
        prompt_hash: Hash of everything that determines a verdict: wording, model, settings; see `hash_of`.

    A judge may also have a `note`, such as "weak: ...", and an `accuracy` (`JudgeAccuracy`). Both are printed below
    the table, and rates are also given corrected for the accuracy.
    """

    name: str
    measure: str
    prompt_hash: str

    def verdicts(self, items: Sequence[Judged]) -> Iterator[tuple[int, Verdict]]:
        """Judge each item once.

        Yields:
            Position in `items` and verdict, in any order. A caller that stores them at once can later request only the
            missing and unscored ones.
        """
        ...


@runtime_checkable
class PairwiseJudge(Protocol):
    """Compares two responses; attributes as for `Judge`, without a measure."""

    name: str
    prompt_hash: str

    def preferences(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Verdict]]:
        """Judge each pair once, in the order given: 1 the first is better, 0 the second, 0.5 a tie.

        Yields:
            Position in `pairs` and verdict, in any order.
        """
        ...


@dataclass(frozen=True)
class JudgeSettings:
    """Server, device, timeouts and retries of judges.

    Attributes:
        base_url: OpenAI-compatible endpoint, such as "http://127.0.0.1:8000/v1"; None means OPENAI_BASE_URL from the
            environment, else OpenAI itself.
        model: The judge model's name at the endpoint.
        request: Fields of each request besides model and messages, such as {"max_completion_tokens": 2000}; they
            replace the default (temperature 0, 512 tokens).
        concurrency: Number of concurrent requests.
        timeout_seconds: Timeout of one request.
        retries: Number of retries of a failed request.
        backoff_seconds: Wait before the first retry; doubles with each retry, up to a minute.
        batch_size: Batch size of a local classifier.
        device: Device of a local classifier, such as "cuda:0"; None means the GPU if there is one.
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
        parts: Everything that determines a judge's verdicts, as JSON values.
    """
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]
