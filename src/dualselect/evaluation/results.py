"""`RUN/evaluation/NAME.json`: what an evaluation leaves behind, and what comparisons and reports read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dualselect.errors import DataError
from dualselect.judges.protocol import JudgeAccuracy
from dualselect.system.files import write_json


FORMAT = 1


@dataclass(frozen=True)
class ModelRecord:
    """Which model answered.

    Attributes:
        name: As the user wrote it.
        path: Absolute path, hub name or address.
        fingerprint: Hash of weights, adapter and tokenizer; of a server, its address and model name.
    """

    name: str
    path: str
    fingerprint: str


@dataclass(frozen=True)
class JudgeRecord:
    """Which judge looked at the responses.

    Attributes:
        name: As the user wrote it.
        measure: What its values mean: `refusal`, `harmfulness`, `unsafe` or `reward`.
        prompt_hash: Hash of everything that shapes its verdicts.
        note: What its own words say of it, such as "weak: ...".
        accuracy: How often it agreed with people; None if that was not measured.
    """

    name: str
    measure: str
    prompt_hash: str
    note: str = ""
    accuracy: JudgeAccuracy | None = None


@dataclass(frozen=True)
class VerdictRecord:
    """What a judge said of one response.

    Attributes:
        value: None is unscored.
        reason: Why it is unscored, or what the judge gave as its reason.
        raw: The judge's whole reply.
        passing: Whether what left it unscored may pass, so that the same evaluation again may score it.
    """

    value: float | None
    reason: str = ""
    raw: str = ""
    passing: bool = False


@dataclass(frozen=True)
class ResponseRecord:
    """One prompt, its response, and all that was found about it.

    Attributes:
        suite: Name of its suite.
        id: Name of the prompt within the suite.
        category: What the prompt is about.
        kind: What its data called it.
        prompt: The turns.
        response: What it said behind its thoughts; empty in suites of preferences, where nothing is generated.
        answer: The exact answer, if there is one.
        verdicts: By name of the judge.
        measures: By name; None is unscored.
        thought: What the model thought before it responded; kept, and never judged.
    """

    suite: str
    id: str
    category: str
    kind: str
    prompt: list[dict[str, str]]
    response: str
    answer: str = ""
    verdicts: Mapping[str, VerdictRecord] = field(default_factory=dict)
    measures: Mapping[str, float | None] = field(default_factory=dict)
    thought: str = ""

    @property
    def has_no_answer(self) -> bool:
        """Whether a server would not take the prompt, or the response ended inside its thoughts.

        A response that is empty is something else.
        """
        return "empty" in self.measures and self.measures["empty"] is None


@dataclass(frozen=True)
class PreferenceRecord:
    """What a judge said of the response to a prompt and the baseline's response to it.

    Attributes:
        suite: Name of the suite.
        id: Name of the prompt within the suite.
        judge: Name of the judge.
        value: 1 for this evaluation's response, 0 for the baseline's, 0.5 for a tie; None is unscored.
        reason: Why it is unscored.
        raw: The judge's whole replies.
    """

    suite: str
    id: str
    judge: str
    value: float | None
    reason: str = ""
    raw: str = ""


@dataclass(frozen=True)
class SummaryRow:
    """One number of the table.

    Attributes:
        suite: Name of the suite.
        judge: Name of the judge; empty where none is needed.
        metric: What the number is.
        category: Of these prompts only; empty is all.
        value: None when no prompt was scored.
        low: Lower end of the 95% interval; None where nothing tells how sure the number is.
        high: Upper end.
        count: Prompts scored.
        unscored: Prompts that could not be scored; they are in no value.
        interval: `wilson` or `bootstrap`.
        higher_is_better: None where neither is.
        purpose: What the prompts of the suite are for, see `suite.PURPOSES`; empty for averages of suites.
        corrected: The rate, its lower and its upper end, corrected for the judge's accuracy; None if that is unknown.
    """

    suite: str
    judge: str
    metric: str
    category: str
    value: float | None
    low: float | None
    high: float | None
    count: int
    unscored: int
    interval: str
    higher_is_better: bool | None
    purpose: str = ""
    corrected: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Evaluation:
    """A whole evaluation.

    Attributes:
        model: Which model answered.
        generation: The settings of generation.
        judges: Who judged.
        versions: Of Python and the packages.
        summary: The table.
        responses: Everything that it was made of.
        baseline: Whom the win rates are against; None where there are none.
        preferences: What the win rates were made of.
    """

    model: ModelRecord
    generation: dict[str, Any]
    judges: list[JudgeRecord]
    versions: dict[str, str]
    summary: list[SummaryRow]
    responses: list[ResponseRecord]
    baseline: ModelRecord | None = None
    preferences: list[PreferenceRecord] = field(default_factory=list)

    @property
    def still_unscored(self) -> int:
        """Verdicts that the same evaluation again may find: what left them unscored may have passed by then."""
        return sum(verdict.passing for one in self.responses for verdict in one.verdicts.values())


def whole_characters(text: str) -> str:
    """The text with `?` for each unpaired surrogate: servers may send one, and UTF-8 cannot encode it."""
    return text.encode("utf-8", "replace").decode()


def write_evaluation(path: str | Path, evaluation: Evaluation) -> None:
    """Write an evaluation, whole or not at all."""
    write_json(path, {"format": FORMAT, **asdict(evaluation)})


def read_evaluation(path: str | Path) -> Evaluation:
    """Read an evaluation.

    Raises:
        DataError: The file is missing, is not an evaluation, or one of another format.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: file not found: give the JSON that dualselect evaluate wrote") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable as JSON ({error}): give what dualselect evaluate wrote") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise DataError(
            f"{path} is not an evaluation of format {FORMAT} (its format: {found!r}): give the JSON that dualselect "
            "evaluate wrote, and repeat the evaluation if another version did"
        )
    try:
        return Evaluation(
            ModelRecord(**content["model"]),
            content["generation"],
            [_judge(judge) for judge in content["judges"]],
            content["versions"],
            [_summary(row) for row in content["summary"]],
            [_response(row) for row in content["responses"]],
            ModelRecord(**content["baseline"]) if content.get("baseline") else None,
            [PreferenceRecord(**one) for one in content.get("preferences", [])],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is an evaluation with a part missing or unknown ({error}): repeat it") from error


def _judge(row: dict[str, Any]) -> JudgeRecord:
    accuracy = row.pop("accuracy", None)
    if accuracy is None:
        return JudgeRecord(**row)
    rates = {name: tuple(accuracy[name]) for name in ("sensitivity", "specificity")}
    return JudgeRecord(**row, accuracy=JudgeAccuracy(**rates, data=accuracy["data"]))


def _summary(row: dict[str, Any]) -> SummaryRow:
    corrected = row.pop("corrected", None)
    return SummaryRow(**row, corrected=None if corrected is None else tuple(corrected))


def _response(row: dict[str, Any]) -> ResponseRecord:
    verdicts = {judge: VerdictRecord(**verdict) for judge, verdict in row.pop("verdicts").items()}
    return ResponseRecord(**row, verdicts=verdicts)
