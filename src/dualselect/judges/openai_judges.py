"""LLM judges over an OpenAI-compatible server: scores of responses, or preferences between two."""

import os
import threading
from collections.abc import Iterator, Sequence

from dualselect.errors import JudgeError
from dualselect.judges.endpoint import Endpoint
from dualselect.judges.parallel import as_they_come
from dualselect.judges.protocol import Judged, JudgeSettings, Pair, Verdict, hash_of
from dualselect.judges.wording import Wording, load_wording


class _ServerJudge:
    """A wording and the model that it is sent to.

    `prompt_hash` does not include the address, so that a server on another port can resume. It includes the model
    name, so use different names for different models.
    """

    def __init__(self, name: str, wording: Wording, settings: JudgeSettings) -> None:
        model = wording.model or settings.model
        if not model:
            raise JudgeError(f"{name} needs the name of the judge model as its server calls it: give `model`")
        base_url = wording.base_url or settings.base_url or os.environ.get("OPENAI_BASE_URL") or None
        request = dict(settings.request if wording.request is None else wording.request)
        self.name = name
        self.measure = wording.measure
        self.prompt_hash = hash_of(
            template=wording.template,
            pattern=wording.pattern,
            values=dict(wording.values),
            measure=wording.measure,
            model=model,
            request=request,
        )
        self._wording = wording
        self._workers = settings.concurrency
        self._endpoint = Endpoint(settings, base_url, model, request)

    def _verdict(self, item: Judged | Pair, unwanted: threading.Event) -> Verdict:
        reply = self._endpoint.ask(self._wording.messages(item), unwanted)
        if reply.problem:
            return Verdict(None, reply.problem, reply.text, reply.passing)
        return self._wording.verdict(item, reply.text)


class OpenAIJudge(_ServerJudge):
    """Scores responses with an LLM; see `Wording` for the prompt and the format of verdicts."""

    def verdicts(self, items: Sequence[Judged]) -> Iterator[tuple[int, Verdict]]:
        """See `Judge.verdicts`.

        Raises:
            JudgeError: No request can succeed. Pending results are yielded first.
        """
        return as_they_come(self._verdict, items, self._workers)


class OpenAIPairwiseJudge(_ServerJudge):
    """Compares two responses with an LLM."""

    def preferences(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Verdict]]:
        """See `PairwiseJudge.preferences`.

        Raises:
            JudgeError: No request can succeed. Pending results are yielded first.
        """
        return as_they_come(self._verdict, pairs, self._workers)


def openai_judge(spec: str, settings: JudgeSettings) -> OpenAIJudge | OpenAIPairwiseJudge:
    """The judge "openai:PRESET" or "openai:FILE"."""
    wording = load_wording(spec.partition(":")[2])
    kind = OpenAIPairwiseJudge if wording.measure == "preference" else OpenAIJudge
    return kind(spec, wording, settings)
