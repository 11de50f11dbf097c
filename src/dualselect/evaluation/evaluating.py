"""An evaluation from its settings: everything checked first, then measured, kept and written."""

import json
import logging
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from dualselect.data.tokens import PromptFormat
from dualselect.errors import ConfigError, DataError
from dualselect.evaluation.against_baseline import preference_records, preferences, win_rates
from dualselect.evaluation.generation_settings import GenerationSettings
from dualselect.evaluation.little_safety import little_safety
from dualselect.evaluation.local_model import LocalModel, find_model, load_local_model
from dualselect.evaluation.measuring import Measuring, StartModel
from dualselect.evaluation.metrics import JUDGED, says_something, summarize
from dualselect.evaluation.responder import LocalResponder, Responder, ServerResponder
from dualselect.evaluation.results import (
    Evaluation,
    JudgeRecord,
    ResponseRecord,
    SummaryRow,
    read_evaluation,
    write_evaluation,
)
from dualselect.evaluation.store import Store, key_of
from dualselect.evaluation.suite import Suite
from dualselect.evaluation.suites import load_suites
from dualselect.judges import Judge, JudgeSettings, PairwiseJudge, load_judge
from dualselect.models.fingerprints import model_fingerprint
from dualselect.runs.record import PACKAGES
from dualselect.system.visible import without_credentials


logger = logging.getLogger(__name__)

DEFAULT_JUDGE = "refusal"
BASE = "base"
"""As a start model: the model that is evaluated with its adapter off."""


def evaluate(
    model: str | Path,
    suites: Sequence[str | Suite],
    *,
    judges: Sequence[str | Judge | PairwiseJudge] | None = None,
    baseline: str | Path | None = None,
    average: Sequence[str] = (),
    output: str | Path | None = None,
    generation: GenerationSettings | None = None,
    judge_settings: JudgeSettings | None = None,
    limit: int | None = None,
    start_model: str | None = None,
    model_settings: Mapping[str, Any] | None = None,
    model_name: str | None = None,
    prompt_format: PromptFormat | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Path:
    """Ask a model the prompts of some suites, have the responses judged, and write it all down.

    Suites, judges, model name and output are checked before a model is loaded. Responses and verdicts are kept in a
    `.responses.jsonl` next to the output as they come: an evaluation that was cut off continues where it stopped, and
    another one into the same output finds what it shares with the first.

    Args:
        model: A run directory, an adapter's folder, a model's folder, a hub name, the embedded model's name, or the
            address of an OpenAI-compatible server.
        suites: See `load_suites`.
        judges: See `dualselect.judges.load_judge`; None is `refusal` where it says something.
        baseline: The JSON of another evaluation; judges that prefer one of two responses compare with it.
        average: Names of suites whose mean win rate against the baseline is one more row.
        output: The JSON; None is `evaluation/SUITES.json` in a run directory.
        generation: How to generate; None is greedy.
        judge_settings: Where judges run.
        limit: Only the first prompts of each suite.
        start_model: Measure how far safe responses moved from this model: `base` is the model with its adapter off,
            else a name as for `model`. None does not measure it.
        model_settings: How to load a model that is not a run, such as `dtype` or `load_in_4bit`, by the names that
            `dualselect train` has for them. A run, and its start model, are loaded as the run was.
        model_name: The model's name at the server.
        prompt_format: How prompts are written; None is as the run was trained, else the chat template.
        trust_remote_code: Run code that comes with the model or the start model.
        progress: Whether there are bars.

    Returns:
        The JSON that was written; see `results`.

    Raises:
        DualSelectError: Something cannot be used, or a server or judge fails for good; what was found is kept.
    """
    settings = generation or GenerationSettings()
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}: set it to 1 or more, or leave it out")
    chosen = [suite.first(limit) for suite in load_suites(suites)]
    for suite in chosen:
        logger.info(suite.describe())
    if start_model is not None and not any(suite.has_safe_responses for suite in chosen):
        raise ConfigError(
            "start_model: no suite has safe responses to harmful prompts: add builtin, or own prompts with a response "
            "(harmful:FILE with prompt and completion)"
        )
    single, pairwise = judges_of(chosen, judges, judge_settings or JudgeSettings())
    other = read_evaluation(baseline) if baseline is not None else None
    _check_win_rates(pairwise, other, average, chosen)
    found = _found(str(model), model_name, chosen, start_model, prompt_format)
    path = _output(output, found, chosen)
    if isinstance(found, LocalModel):
        found = found.loaded_as(model_settings or {})
        responder, start = _load(found, settings, start_model, prompt_format, trust=trust_remote_code)
    else:
        responder, start = ServerResponder(found, str(model_name), settings), None
    for suite in chosen:
        responder.check(suite.prompts)
    with Store.opened(path.with_suffix(".responses.jsonl")) as store:
        # given responses are read with the head over their tokens: several times the memory of a generated token
        measuring = Measuring(responder, single, store, start, max(1, settings.batch_size // 4), progress)
        measured = [(suite, measuring.suite(suite)) for suite in chosen]
        evaluation = _evaluation(responder, settings, single, measured)
        write_evaluation(path, evaluation)  # a pairwise judge that fails takes nothing of it away
        for line in little_safety(_of_start_model(found, evaluation, other)):
            logger.warning("%s", line)
        if other is not None and pairwise:
            for judge in pairwise:
                compared = preferences(evaluation, other, judge, store, progress=progress)
                evaluation = replace(
                    evaluation,
                    summary=evaluation.summary + win_rates(compared, judge, average=average),
                    judges=[*evaluation.judges, JudgeRecord(judge.name, "preference", judge.prompt_hash)],
                    baseline=other.model,
                    preferences=evaluation.preferences + preference_records(compared, judge),
                )
            write_evaluation(path, evaluation)
    return path


def _of_start_model(found: LocalModel | str, evaluation: Evaluation, other: Evaluation | None) -> Sequence[SummaryRow]:
    """The table of a model that was not fine-tuned here: the one evaluated, or the one under its adapter."""
    if not isinstance(found, LocalModel):
        return []
    if found.adapter is None and found.run is None:
        return evaluation.summary
    is_start = other is not None and other.model.path == LocalModel(found.base, found.base).path
    return other.summary if other is not None and is_start else []


def _evaluation(
    responder: Responder,
    settings: GenerationSettings,
    judges: Sequence[Judge],
    measured: Sequence[tuple[Suite, list[ResponseRecord]]],
) -> Evaluation:
    records = [
        JudgeRecord(
            judge.name,
            judge.measure,
            judge.prompt_hash,
            getattr(judge, "note", ""),
            getattr(judge, "accuracy", None),
        )
        for judge in judges
    ]
    return Evaluation(
        model=responder.record,
        generation=responder.decisive | {"batch_size": settings.batch_size},
        judges=records,
        versions=_versions(),
        summary=[row for suite, responses in measured for row in summarize(suite, records, responses)],
        responses=[response for _, responses in measured for response in responses],
    )


def judges_of(
    suites: Sequence[Suite], wanted: Sequence[str | Judge | PairwiseJudge] | None, settings: JudgeSettings
) -> tuple[list[Judge], list[PairwiseJudge]]:
    """The judges of an evaluation, those that score one response and those that prefer one of two.

    Args:
        suites: What is judged.
        wanted: As for `evaluate`.
        settings: Where judges run.

    Raises:
        ConfigError: One is named twice, or says nothing of the suites.
        JudgeError: One is not known or cannot be set up.
    """
    if wanted is None:
        wanted = [DEFAULT_JUDGE] if any(says_something(DEFAULT_JUDGE, suite.purpose) for suite in suites) else []
    judges = [load_judge(one, settings) if isinstance(one, str) else one for one in wanted]
    if twice := [name for name, count in Counter(judge.name for judge in judges).items() if count > 1]:
        raise ConfigError(f"judge {twice[0]} is named twice: name it once")
    single = [judge for judge in judges if isinstance(judge, Judge)]
    for judge in single:
        if not any(says_something(judge.measure, suite.purpose) for suite in suites):
            purposes = " or ".join(sorted({purpose for measure, purpose in JUDGED if measure == judge.measure}))
            raise ConfigError(
                f"judge {judge.name} measures {judge.measure}, which says nothing of the suites "
                f"{', '.join(suite.name for suite in suites)}: add a suite that is {purposes or 'known to it'}, or "
                "leave the judge out"
            )
    return single, [judge for judge in judges if not isinstance(judge, Judge)]


def _check_win_rates(
    judges: Sequence[PairwiseJudge], other: Evaluation | None, average: Sequence[str], suites: Sequence[Suite]
) -> None:
    if judges and other is None:
        raise ConfigError(
            f"judge {judges[0].name} prefers one of two responses, and here one model answers: name the other model's "
            "evaluation with --compare, or a judge of single responses"
        )
    if average and not judges:
        raise ConfigError(
            "average is over win rates, and no judge prefers one of two responses: add openai:preference"
        )
    if unknown := [name for name in average if name not in {suite.name for suite in suites}]:
        raise ConfigError(
            f"average: there is no suite {unknown[0]} here: name some of {', '.join(suite.name for suite in suites)}"
        )
    if not judges or other is None:
        return
    answered = {(one.suite, one.id, json.dumps(one.prompt)) for one in other.responses}
    common = {
        suite.name
        for suite in suites
        if any((suite.name, prompt.id, json.dumps(prompt.messages)) in answered for prompt in suite.prompts)
    }
    if strange := [name for name in average if name not in common] or ([] if common else [suites[0].name]):
        raise ConfigError(
            f"{other.model.name}, which is compared with, has no response to a prompt of {strange[0]}: evaluate it "
            "with the same --suite first"
        )


def _found(
    model: str,
    model_name: str | None,
    suites: Sequence[Suite],
    start_model: str | None,
    prompt_format: PromptFormat | None,
) -> LocalModel | str:
    if not re.match(r"https?://", model):
        if model_name is not None:
            raise ConfigError(f"model_name {model_name} is for a server, and {model} is none: leave it out")
        return find_model(model)
    if not model_name:
        raise ConfigError(f"model_name is missing: write what the server {without_credentials(model)} calls the model")
    local_only = [f"suite {suite.name} (preferences)" for suite in suites if suite.purpose == "preference"]
    local_only += ["start_model"] if start_model is not None else []
    local_only += ["prompt_format"] if prompt_format is not None else []
    if local_only:
        raise ConfigError(
            f"{', '.join(local_only)}: needs the model itself, and {without_credentials(model)} is a server, which "
            "neither tells how likely a response is nor takes prompts outside its chat template: give a folder, a run "
            "or a hub name, or leave it out"
        )
    return model


def _output(output: str | Path | None, found: LocalModel | str, suites: Sequence[Suite]) -> Path:
    if output is None:
        folder = found.evaluations if isinstance(found, LocalModel) else None
        if folder is None:
            name = found.name if isinstance(found, LocalModel) else without_credentials(found)
            raise ConfigError(
                f"output is missing, and {name} is not a run: write --output with a file, such as start.json"
            )
        names = dict.fromkeys(re.sub(r"^(builtin(-validation)?)-\w+$", r"\1", suite.name) for suite in suites)
        output = folder / (re.sub(r"[^\w.+-]", "_", "+".join(names)) + ".json")
    path = Path(output).expanduser().absolute()
    if path.suffix != ".json" or path.is_dir():
        raise ConfigError(
            f"output {output} is no .json file: write a path such as evaluation/{path.stem or 'all'}.json"
        )
    if path.exists():
        try:
            read_evaluation(path)
        except DataError as error:
            raise ConfigError(
                f"output {path} is there already and is not an evaluation, so it is not replaced: name another"
            ) from error
    return path


def _load(
    found: LocalModel,
    settings: GenerationSettings,
    start_model: str | None,
    prompt_format: PromptFormat | None,
    *,
    trust: bool,
) -> tuple[Responder, StartModel | None]:
    start_found = None if start_model in (None, BASE) else find_model(str(start_model)).loaded_as(found.settings)
    if start_model == BASE and found.adapter is None:
        has_none = "has none" if Path(found.path).exists() else "is neither a run nor an adapter here"
        raise ConfigError(
            f"start_model base is the model without its adapter, and {found.name} {has_none}: name a model"
        )
    model, tokenizer = load_local_model(found, trust_remote_code=trust)
    prompt_format = prompt_format or found.prompt_format
    logger.info("prompts are written in the format %s", prompt_format)
    responder = LocalResponder(found.name, found.path, model, tokenizer, settings, prompt_format)
    if start_model is None:
        return responder, None
    if start_found is None:
        assert isinstance(model, PeftModel)
        return responder, StartModel(key_of(responder.record.fingerprint, BASE), model, model.disable_adapter)
    return responder, _start_model(start_found, model, trust=trust)


def _start_model(found: LocalModel, model: PreTrainedModel, *, trust: bool) -> StartModel:
    start, _ = load_local_model(found, trust_remote_code=trust)
    sizes = [one.get_input_embeddings().weight.shape[0] for one in (model, start)]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"start_model {found.name} has a vocabulary of {sizes[1]:,} tokens, the model {sizes[0]:,}: their "
            "predictions cannot be compared; name the model that it was fine-tuned from"
        )
    return StartModel(model_fingerprint(start), start)


def _versions() -> dict[str, str]:
    versions: dict[str, Any] = {"python": platform.python_version()}
    for package in (*PACKAGES, "openai"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
