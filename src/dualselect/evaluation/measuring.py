"""One suite measured: its responses, their verdicts and likelihoods, each found once and kept in the store."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from tqdm import tqdm

from dualselect.errors import ModelError
from dualselect.evaluation.degenerate import is_empty, is_repetitive
from dualselect.evaluation.exact_match import MATCHERS
from dualselect.evaluation.generation import Response
from dualselect.evaluation.likelihood import ScoredResponse, divergences, log_likelihoods, token_rows
from dualselect.evaluation.metrics import says_something
from dualselect.evaluation.responder import LocalResponder, Responder
from dualselect.evaluation.results import ResponseRecord, VerdictRecord, whole_characters
from dualselect.evaluation.store import Store, key_of
from dualselect.evaluation.suite import Prompt, Suite
from dualselect.judges import Judge, Judged, Verdict


logger = logging.getLogger(__name__)

Measures = dict[str, float | None]


@dataclass(frozen=True)
class StartModel:
    """What the model was before it was fine-tuned.

    Attributes:
        fingerprint: Of the start model.
        model: It, or the fine-tuned model that `context` makes it.
        context: Makes the context under which `model` is the start model.
    """

    fingerprint: str
    model: nn.Module
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Measuring:
    """Everything a suite is measured with.

    Attributes:
        responder: Who answers.
        judges: Who judges; each looks only at suites that its measure applies to.
        store: What is known already.
        start_model: For the divergence of safe responses; None leaves it out.
        batch_size: Rows of a forward pass over given responses.
        progress: Whether there are bars.
    """

    responder: Responder
    judges: Sequence[Judge]
    store: Store
    start_model: StartModel | None
    batch_size: int
    progress: bool

    def suite(self, suite: Suite) -> list[ResponseRecord]:
        """Measure a suite; nothing that the store knows is done again.

        Raises:
            DualSelectError: The model, the server or a judge fails; what was found is kept.
        """
        if suite.purpose == "preference":
            measures = self._preferences(suite)
            return self._records(suite, [Response("", cut=False)] * len(suite.prompts), measures, {})
        responses = self._responses(suite)
        measures = [_measures_of(suite, *pair) for pair in zip(suite.prompts, responses, strict=True)]
        verdicts = {
            judge.name: self._verdicts(judge, suite, responses)
            for judge in self.judges
            if says_something(judge.measure, suite.purpose)
        }
        further: list[Measures] = []
        if suite.purpose == "harmful" and self.start_model is not None:
            further = self._divergences(suite)
        elif suite.purpose == "task" and isinstance(self.responder, LocalResponder):
            further = self._answer_probabilities(suite)
        for found, more in zip(measures, further, strict=False):
            found.update(more)
        return self._records(suite, responses, measures, verdicts)

    def _responses(self, suite: Suite) -> list[Response]:
        prompts = {self._response_key(prompt): prompt for prompt in reversed(suite.prompts)}
        keys = list(reversed(prompts))
        asked = [prompts[key] for key in keys]
        done = {number for number, key in enumerate(keys) if key in self.store}
        if done:
            logger.info("%s: %d of %d responses are there from before", suite.name, len(done), len(keys))
        unanswered: dict[str, Response] = {}  # not kept: a second call asks again

        def answered() -> Iterator[Mapping[int, Any]]:
            for batch in self.responder.responses(asked, done):
                unanswered.update({keys[number]: one for number, one in batch.items() if one.problem})
                yield {number: asdict(one) for number, one in batch.items() if not one.problem}

        self._keep(keys, answered(), f"{suite.name}: responses")
        for problem, count in Counter(one.problem for one in unanswered.values()).items():
            logger.warning("%s: %d prompts have no response: %s", suite.name, count, problem)
        found = [self._response_key(prompt) for prompt in suite.prompts]
        responses = [_kept(self.store[key]) if key in self.store else unanswered[key] for key in found]
        for reason, count in Counter(one.unscored_reason for one in responses if not one.problem).items():
            if reason:
                logger.warning("%s: %d of %d prompts are unscored: %s", suite.name, count, len(responses), reason)
        return responses

    def _verdicts(self, judge: Judge, suite: Suite, responses: Sequence[Response]) -> list[VerdictRecord]:
        keys = [
            key_of("verdict", self._response_key(prompt), response.text, judge.name, judge.prompt_hash)
            for prompt, response in zip(suite.prompts, responses, strict=True)
        ]
        items = {
            key: Judged(prompt.id, prompt.messages, response.text)
            for key, prompt, response in zip(keys, suite.prompts, responses, strict=True)
            if key not in self.store and not response.unscored_reason
        }
        missing = list(items)
        unscored = {
            key: VerdictRecord(None, response.unscored_reason)
            for key, response in zip(keys, responses, strict=True)
            if response.unscored_reason
        }
        with self._bar(len(set(keys)), len(missing), f"{suite.name}: {judge.name}") as bar:
            for position, verdict in judge.verdicts(list(items.values())) if items else ():
                record = _record(verdict)
                if record.value is None:  # it is not kept: a second call asks again
                    unscored[missing[position]] = record
                else:
                    self.store.add({missing[position]: asdict(record)})
                bar.update()
        for reason, count in Counter(unscored[key].reason for key in missing if key in unscored).items():
            logger.warning("%s: %s left %d responses unscored: %s", suite.name, judge.name, count, reason)
        silent = VerdictRecord(None, "the judge gave no verdict", passing=True)
        return [VerdictRecord(**self.store[key]) if key in self.store else unscored.get(key, silent) for key in keys]

    def _preferences(self, suite: Suite) -> list[Measures]:
        pairs = [(prompt.chosen, prompt.rejected) for prompt in suite.prompts]
        found = self._likelihoods(
            [(prompt, text) for prompt, pair in zip(suite.prompts, pairs, strict=True) for text in pair],
            f"{suite.name}: likelihoods",
        )
        return [_preference(better, worse) for better, worse in zip(found[::2], found[1::2], strict=True)]

    def _answer_probabilities(self, suite: Suite) -> list[Measures]:
        """How likely the model finds the given answers, per token: it moves where exact matches stay near none."""
        given = [(prompt, prompt.chosen) for prompt in suite.prompts if prompt.chosen.strip()]
        found = self._likelihoods(given, f"{suite.name}: likelihoods")
        ids = [prompt.id for prompt, _ in given]
        by_id = {name: math.exp(total / tokens) for name, (total, tokens) in zip(ids, found, strict=True)}
        return [{"answer_probability": by_id[prompt.id]} if prompt.id in by_id else {} for prompt in suite.prompts]

    def _likelihoods(self, asked: Sequence[tuple[Prompt, str]], what: str) -> list[list[float]]:
        model = self._local()
        keys = [
            key_of("likelihood", model.record.fingerprint, model.prompt_format, prompt.sha256, text)
            for prompt, text in asked
        ]

        def batches(texts: list[ScoredResponse], done: set[int]) -> Iterator[Mapping[int, Any]]:
            rows = token_rows(texts, model.tokenizer, model.prompt_format)
            return log_likelihoods(model.model, rows, batch_size=self.batch_size, done=done)

        return self._of_texts(keys, asked, batches, what)

    def _divergences(self, suite: Suite) -> list[Measures]:
        model, start = self._local(), self.start_model
        assert start is not None
        safe = [(prompt, prompt.chosen) for prompt in suite.prompts if prompt.chosen.strip()]
        parts = (model.record.fingerprint, start.fingerprint, model.prompt_format)
        keys = [key_of("divergence", *parts, prompt.sha256, text) for prompt, text in safe]

        def batches(texts: list[ScoredResponse], done: set[int]) -> Iterator[Mapping[int, Any]]:
            rows = token_rows(texts, model.tokenizer, model.prompt_format)
            return divergences(
                model.model, start.model, rows, batch_size=self.batch_size, start=start.context, done=done
            )

        found = self._of_texts(keys, safe, batches, f"{suite.name}: divergence from the start")
        by_id = {prompt.id: value for (prompt, _), value in zip(safe, found, strict=True)}
        return [{"kl_to_start": by_id[prompt.id]} if prompt.id in by_id else {} for prompt in suite.prompts]

    def _of_texts(
        self,
        keys: Sequence[str],
        asked: Sequence[tuple[Prompt, str]],
        batches: Callable[[list[ScoredResponse], set[int]], Iterator[Mapping[int, Any]]],
        what: str,
    ) -> list[Any]:
        """Values of given responses, those that are not known found in batches of all of them."""
        texts = {key: ScoredResponse(prompt.messages, text) for key, (prompt, text) in zip(keys, asked, strict=True)}
        done = {number for number, key in enumerate(texts) if key in self.store}
        if len(done) < len(texts):
            self._keep(list(texts), batches(list(texts.values()), done), what)
        return [self.store[key] for key in keys]

    def _keep(self, keys: Sequence[str], batches: Iterator[Mapping[int, Any]], what: str) -> None:
        missing = sum(key not in self.store for key in keys)
        with self._bar(len(keys), missing, what) as bar:
            for batch in batches if missing else ():
                new = {keys[number]: value for number, value in batch.items() if keys[number] not in self.store}
                self.store.add(new)
                bar.update(len(new))

    def _records(
        self,
        suite: Suite,
        responses: Sequence[Response],
        measures: Sequence[Measures],
        verdicts: Mapping[str, Sequence[VerdictRecord]],
    ) -> list[ResponseRecord]:
        return [
            ResponseRecord(
                suite=suite.name,
                id=prompt.id,
                category=prompt.category,
                kind=prompt.kind,
                prompt=prompt.messages,
                response=responses[number].text,
                thought=responses[number].thought,
                answer=prompt.answer,
                verdicts={judge: found[number] for judge, found in verdicts.items()},
                measures=measures[number],
            )
            for number, prompt in enumerate(suite.prompts)
        ]

    def _response_key(self, prompt: Prompt) -> str:
        return key_of("response", self.responder.record.fingerprint, self.responder.decisive, prompt.sha256)

    def _local(self) -> LocalResponder:
        if not isinstance(self.responder, LocalResponder):
            raise ModelError(
                "a server does not tell how likely a given response is: measure preferences and the divergence from a "
                "start model on the model itself (a folder, a run or a hub name)"
            )
        return self.responder

    def _bar(self, total: int, missing: int, what: str) -> tqdm:  # type: ignore[type-arg]
        return tqdm(
            total=total, initial=total - missing, desc=what, unit="row", leave=False, disable=not self.progress
        )


def _kept(value: Mapping[str, Any]) -> Response:
    """A response as the store has it; those of versions that knew no thoughts have them in their text."""
    return Response(**value) if "thought" in value else Response.of(value["text"], cut=value["cut"])


def _measures_of(suite: Suite, prompt: Prompt, response: Response) -> Measures:
    matchers = MATCHERS[suite.answer_format] if suite.purpose == "task" else {}
    if response.problem:
        return dict.fromkeys(("empty", "repetitive", "truncated", *matchers))
    if response.unscored_reason:
        return dict.fromkeys(("empty", "repetitive", *matchers)) | {"truncated": float(response.cut)}
    measures: Measures = {
        "empty": float(is_empty(response.text)),
        "repetitive": float(is_repetitive(response.text)),
        "truncated": float(response.cut),
    }
    for name, matches in matchers.items():
        measures[name] = float(matches(response.text, prompt.answer))
    return measures


def _preference(better: list[float], worse: list[float]) -> Measures:
    """Accuracy and margin of one pair, by log-likelihood per token."""
    (chosen, chosen_tokens), (rejected, rejected_tokens) = better, worse
    margin = chosen / chosen_tokens - rejected / rejected_tokens
    return {"preference_accuracy": float(margin > 0), "preference_margin": margin}


def _record(verdict: Verdict) -> VerdictRecord:
    if verdict.value is not None and not math.isfinite(verdict.value):
        return VerdictRecord(None, f"the judge gave {verdict.value}", whole_characters(verdict.raw))
    value = None if verdict.value is None else float(verdict.value)
    passing = value is None and verdict.passing
    return VerdictRecord(value, whole_characters(verdict.reason), whole_characters(verdict.raw), passing)
