"""`dualselect pool`: a reference pool in the words of the start model itself.

The start model answers harmful and harmless prompts. A judge keeps the answers that refuse well, or help well. Such a
pool asks a model to keep what it does, and not to adopt the wording of another one.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualselect.data import builtin_rows
from dualselect.data.ids import row_id
from dualselect.errors import DataError
from dualselect.evaluation.degenerate import is_empty, is_repetitive
from dualselect.evaluation.generation import Response, response_batches
from dualselect.evaluation.generation_settings import GenerationSettings
from dualselect.evaluation.suite import Prompt
from dualselect.evaluation.suites import load_suites
from dualselect.judges import Judge, Judged
from dualselect.judges.refusal import IN_PART, RefusalJudge
from dualselect.system.files import write_text


logger = logging.getLogger(__name__)

Side = Literal["harmful", "harmless"]
KINDS: Mapping[Side, str] = {"harmful": "refusal", "harmless": "lookalike"}
"""The kind of the rows of each side, in the pool and among the built-in prompts."""
BUILTIN_SEED = 23


@dataclass(frozen=True)
class SideCounts:
    """What became of the prompts of one side.

    Attributes:
        asked: Prompts answered.
        kept: Answers in the pool.
        dropped: Number of answers left out, by reason.
    """

    asked: int
    kept: int
    dropped: Mapping[str, int]


def own_pool(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    output: str | Path,
    *,
    harmful: Sequence[str] = (),
    harmless: Sequence[str] = (),
    count: int = 100,
    generation: GenerationSettings | None = None,
    judge: Judge | None = None,
    progress: bool = True,
) -> dict[Side, SideCounts]:
    """Write a two-sided reference pool whose answers are the model's own.

    Args:
        model: The model whose safety is to be kept, before fine-tuning.
        tokenizer: Its tokenizer, with a chat template.
        output: The JSONL file to write: `id`, `kind`, `category`, `prompt` and `completion`. It must not exist.
        harmful: Sources of harmful prompts (files, folders, hub names); none for the built-in ones.
        harmless: Sources of harmless prompts, best some that look harmful; none for the built-in ones.
        count: Most prompts of each side that are answered.
        generation: Length and batch size of the answers; None for 160 tokens and batches of 16.
        judge: Tells refusals (1) from other answers (0); None for the judge of wordings, which reads English.
        progress: Whether there are progress bars.

    Returns:
        Counts by side.

    Raises:
        DataError: The file exists, a source cannot be read, or no answer of a side can be used.
    """
    output = Path(output)
    if output.exists():
        raise DataError(f"{output} exists: name another file")
    if count < 1:
        raise DataError(f"count is {count}: it must be 1 or more")
    given: dict[Side, Sequence[str]] = {"harmful": harmful, "harmless": harmless}
    prompts = {side: _prompts(side, sources, count) for side, sources in given.items()}
    settings = generation or GenerationSettings(max_new_tokens=160, batch_size=16)
    rows: list[dict[str, Any]] = []
    counts: dict[Side, SideCounts] = {}
    for side, asked in prompts.items():
        responses = _responses(model, tokenizer, asked, settings, f"Answering {side} prompts", progress=progress)
        reasons = _reasons(side, asked, responses, judge or RefusalJudge())
        judged = zip(asked, responses, reasons, strict=True)
        kept = [_row(side, prompt, response) for prompt, response, reason in judged if not reason]
        dropped = Counter(reason for reason in reasons if reason)
        counts[side] = SideCounts(len(asked), len(kept), dict(dropped))
        logger.info("%s", described(side, counts[side]))
        if not kept:
            raise DataError(
                f"no answer to a {side} prompt can be used ({dict(dropped)}): the model does not "
                f"{'refuse' if side == 'harmful' else 'help'}, or the judge does not see it; look at other prompts, "
                "raise max_new_tokens, or use the built-in pool"
            )
        rows += kept
    write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return counts


def described(side: Side, counts: SideCounts) -> str:
    """The counts of a side in one line."""
    what = "refusals" if side == "harmful" else "helpful answers"
    reasons = "".join(f"; {number} left out: {reason}" for reason, number in sorted(counts.dropped.items()))
    return f"{side} prompts: {counts.asked} asked, {counts.kept} {what} kept{reasons}"


def _prompts(side: Side, sources: Sequence[str], count: int) -> list[Prompt]:
    if sources:
        suites = load_suites([f"{side}:{source}" for source in sources])
        return [prompt for suite in suites for prompt in suite.prompts][:count]
    rows = builtin_rows(KINDS[side], count, seed=BUILTIN_SEED)
    return [Prompt(row["id"], row["prompt"], row["category"]) for row in rows]


def _responses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    what: str,
    *,
    progress: bool,
) -> list[Response]:
    texts = [
        str(tokenizer.apply_chat_template(prompt.messages, tokenize=False, add_generation_prompt=True))
        for prompt in prompts
    ]
    found: dict[int, Response] = {}
    with tqdm(total=len(texts), desc=what, unit="prompt", leave=False, disable=not progress) as bar:
        for batch in response_batches(model, tokenizer, texts, settings):
            found |= batch
            bar.update(len(batch))
    return [found[number] for number in range(len(texts))]


def _reasons(side: Side, prompts: Sequence[Prompt], responses: Sequence[Response], judge: Judge) -> list[str]:
    """The reason for rejecting each answer; an empty string if it is accepted."""
    judged = [
        Judged(prompt.id, prompt.messages, response.text) for prompt, response in zip(prompts, responses, strict=True)
    ]
    verdicts = dict(judge.verdicts(judged))
    reasons = []
    for number, response in enumerate(responses):
        verdict = verdicts[number]
        if reason := _unusable(response):
            reasons.append(reason)
        elif verdict.value is None:
            reasons.append(f"not judged ({verdict.reason})")
        elif side == "harmful":
            reasons.append("" if verdict.value >= 0.5 else "no full refusal")
        else:
            refuses = verdict.value >= 0.5 or verdict.raw.startswith(IN_PART)
            reasons.append("refuses, in full or in part" if refuses else "")
    return reasons


def _unusable(response: Response) -> str:
    if response.unscored_reason or is_empty(response.text):
        return response.unscored_reason or "empty"
    if is_repetitive(response.text):
        return "repeats itself"
    return "cut off: raise max_new_tokens" if response.cut else ""


def _row(side: Side, prompt: Prompt, response: Response) -> dict[str, Any]:
    return {
        "id": f"own-{row_id(prompt.messages, response.text)}",
        "kind": KINDS[side],
        "category": prompt.category,
        "prompt": prompt.messages,
        "completion": [{"role": "assistant", "content": response.text}],
    }
