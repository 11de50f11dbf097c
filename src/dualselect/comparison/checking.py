"""What a comparison measures with, loaded and checked, so that nothing stops it after hours."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from dualselect.comparison.config import ComparisonConfig
from dualselect.comparison.materials import Rows, asked_sha256, row_keys
from dualselect.comparison.preferences import averaged_suites
from dualselect.comparison.run_plan import TEST, VALIDATION
from dualselect.comparison.tuning import has_balance
from dualselect.data.checks import normalized_prompt
from dualselect.errors import ConfigError, DataError
from dualselect.evaluation.evaluating import judges_of
from dualselect.evaluation.suite import Suite
from dualselect.evaluation.suites import load_suites
from dualselect.judges import Judge, PairwiseJudge, load_judge


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What the runs are measured with.

    Attributes:
        suites: Of the table.
        chosen_on: Suites that settings are chosen on.
        pairwise: Judges for win rates.
        asked: Hash of prompts and judges, by name of the evaluation.
    """

    suites: list[Suite]
    chosen_on: list[Suite]
    pairwise: list[PairwiseJudge]
    asked: dict[str, str]


def measured_with(config: ComparisonConfig) -> Measured:
    """Load suites and judges.

    Raises:
        ConfigError: They do not fit each other, or nothing could be chosen by them.
        DataError: A suite cannot be read, or prompts are to be both chosen on and told.
        JudgeError: A judge is not known or cannot be set up.
    """
    plan = config.evaluation
    suites = load_suites(plan.suites)
    chosen_on = load_suites(plan.validation_suites) if plan.validation_suites else []
    both = len(_prompts(suites) & _prompts(chosen_on))
    if both:
        raise DataError(
            f"{both} prompts stand in both suites and validation_suites: settings would be chosen on what is then "
            "told. Take other rows for one of the two."
        )
    averaged_suites(plan.average, suites)
    suites, chosen_on = ([suite.first(plan.limit) for suite in some] for some in (suites, chosen_on))
    if plan.kl_to_start and not any(suite.has_safe_responses for suite in suites):
        raise ConfigError(
            "kl_to_start: no suite has safe responses to harmful prompts: add builtin, or own prompts with a response "
            "(harmful:FILE with prompt and completion)"
        )
    named = None if plan.judges is None else [_judge(name, config) for name in plan.judges]
    asked = {TEST: asked_sha256(suites, judges_of(suites, named, plan.judge_settings)[0])}
    if any(entry.candidates and entry.method.tuned_by == "balance" for entry in config.entries):
        judges, _ = judges_of(chosen_on, named, plan.judge_settings)
        if not has_balance(chosen_on, judges):
            raise ConfigError(
                "tune chooses by the balance of refusals, over-refusals and exact answers, and validation_suites "
                f"{', '.join(plan.validation_suites)} have none of these under the judges here: add "
                "builtin:validation with judge refusal, or own prompts as harmful:FILE, harmless:FILE or task:FILE"
            )
        asked[VALIDATION] = asked_sha256(chosen_on, judges)
    return Measured(suites, chosen_on, [_pairwise_judge(name, config) for name in plan.pairwise_judges], asked)


def check_apart(config: ComparisonConfig, rows: Rows, measured: Measured) -> None:
    """Refuse rows whose prompts the table is measured on, and warn of those that settings are chosen on.

    Prompts are compared as those of the task data and the pool are. With `allow_prompt_overlap` they are warned of.

    Args:
        config: The comparison.
        rows: What its runs are trained on.
        measured: What they are measured with.

    Raises:
        DataError: A line that does not allow it is trained on prompts of the table.
    """
    asked = {"suites": _prompts(measured.suites), "validation_suites": _prompts(measured.chosen_on)}
    every = [config.settings | entry.settings for entry in config.entries]
    strict = {key for one in every if not one.get("allow_prompt_overlap") for key in row_keys(one).values()}
    for key, found in rows.items():
        prompts = [normalized_prompt(prompt) for prompt in found["prompt"]]
        for name, known in asked.items():
            shared = [prompt for prompt in prompts if prompt in known]
            what = f"{len(shared)} of {len(prompts)} rows of {key[0]} have a prompt that also stands in {name}"
            if shared and name == "suites" and key in strict:
                raise DataError(
                    f"{what} (such as {shared[0][:80]!r}): the table would be of what was trained on. Take other rows "
                    "for one of the two, or set allow_prompt_overlap: true"
                )
            if shared:
                logger.warning("%s", what)


def _prompts(suites: Sequence[Suite]) -> set[str]:
    return {normalized_prompt(prompt.messages) for suite in suites for prompt in suite.prompts}


def _judge(name: str, config: ComparisonConfig) -> Judge:
    judge = load_judge(name, config.evaluation.judge_settings)
    if not isinstance(judge, Judge):
        raise ConfigError(f"judge {name} prefers one of two responses: write it as one of pairwise_judges")
    return judge


def _pairwise_judge(name: str, config: ComparisonConfig) -> PairwiseJudge:
    judge = load_judge(name, config.evaluation.judge_settings)
    if not isinstance(judge, PairwiseJudge):
        raise ConfigError(f"judge {name} looks at one response: write it as one of judges")
    return judge
