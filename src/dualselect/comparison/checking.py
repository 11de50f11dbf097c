"""Load and check the suites and judges of a comparison before any training."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from dualselect.comparison.config import ComparisonConfig
from dualselect.comparison.input_hashes import Rows, prompts_sha256, row_keys
from dualselect.comparison.run_plan import TEST, VALIDATION
from dualselect.comparison.tuning import has_balance
from dualselect.comparison.win_rates import averaged_suites
from dualselect.data.checks import normalized_prompt
from dualselect.errors import ConfigError, DataError
from dualselect.evaluation.evaluating import judges_of
from dualselect.evaluation.suite import Suite
from dualselect.evaluation.suites import load_suites
from dualselect.judges import Judge, PairwiseJudge, load_judge


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationSetup:
    """Suites and judges of a comparison.

    Attributes:
        suites: Suites of the table.
        validation_suites: Suites for tuning.
        pairwise: Judges for win rates.
        prompt_hashes: Hash of prompts and judges, by evaluation name.
    """

    suites: list[Suite]
    validation_suites: list[Suite]
    pairwise: list[PairwiseJudge]
    prompt_hashes: dict[str, str]


def load_evaluation_setup(config: ComparisonConfig) -> EvaluationSetup:
    """Load suites and judges.

    Raises:
        ConfigError: Suites and judges do not fit each other, or cannot tune the settings.
        DataError: A suite cannot be read, or a prompt is in both the test and the validation suites.
        JudgeError: A judge is unknown or cannot be set up.
    """
    plan = config.evaluation
    suites = load_suites(plan.suites)
    validation_suites = load_suites(plan.validation_suites) if plan.validation_suites else []
    shared = len(_prompts(suites) & _prompts(validation_suites))
    if shared:
        raise DataError(
            f"{shared} prompts are in both suites and validation_suites, so that settings would be tuned on test "
            "prompts. Use other rows for one of the two."
        )
    averaged_suites(plan.average, suites)
    suites, validation_suites = ([suite.first(plan.limit) for suite in group] for group in (suites, validation_suites))
    if plan.kl_to_start and not any(suite.has_safe_responses for suite in suites):
        raise ConfigError(
            "kl_to_start: no suite has safe responses to harmful prompts: add builtin, or your own prompts with "
            "responses (harmful:FILE with prompt and completion)"
        )
    named = None if plan.judges is None else [_judge(name, config) for name in plan.judges]
    prompt_hashes = {TEST: prompts_sha256(suites, judges_of(suites, named, plan.judge_settings)[0])}
    if any(entry.candidates and entry.method.tuned_by == "balance" for entry in config.entries):
        judges, _ = judges_of(validation_suites, named, plan.judge_settings)
        if not has_balance(validation_suites, judges):
            raise ConfigError(
                "tune maximizes the balance of refusals, over-refusals and exact answers, and validation_suites "
                f"{', '.join(plan.validation_suites)} measure none of these with the given judges: add "
                "builtin:validation with judge refusal, or your own prompts as harmful:FILE, harmless:FILE or "
                "task:FILE"
            )
        prompt_hashes[VALIDATION] = prompts_sha256(validation_suites, judges)
    return EvaluationSetup(
        suites, validation_suites, [_pairwise_judge(name, config) for name in plan.pairwise_judges], prompt_hashes
    )


def check_no_overlap(config: ComparisonConfig, rows: Rows, setup: EvaluationSetup) -> None:
    """Refuse training rows that share a prompt with a test suite; warn of those shared with a validation suite.

    With `allow_prompt_overlap` both are warnings.

    Args:
        config: The comparison.
        rows: Training rows.
        setup: Suites and judges.

    Raises:
        DataError: An entry without `allow_prompt_overlap` trains on test prompts.
    """
    suite_prompts = {"suites": _prompts(setup.suites), "validation_suites": _prompts(setup.validation_suites)}
    settings = [config.settings | entry.settings for entry in config.entries]
    strict = {key for one in settings if not one.get("allow_prompt_overlap") for key in row_keys(one).values()}
    for key, dataset in rows.items():
        prompts = [normalized_prompt(prompt) for prompt in dataset["prompt"]]
        for name, test_prompts in suite_prompts.items():
            shared = [prompt for prompt in prompts if prompt in test_prompts]
            what = f"{len(shared)} of {len(prompts)} rows of {key[0]} share their prompt with {name}"
            if shared and name == "suites" and key in strict:
                raise DataError(
                    f"{what} (such as {shared[0][:80]!r}), so that models would be tested on training prompts. Use "
                    "other rows for one of the two, or set allow_prompt_overlap: true"
                )
            if shared:
                logger.warning("%s", what)


def _prompts(suites: Sequence[Suite]) -> set[str]:
    return {normalized_prompt(prompt.messages) for suite in suites for prompt in suite.prompts}


def _judge(name: str, config: ComparisonConfig) -> Judge:
    judge = load_judge(name, config.evaluation.judge_settings)
    if not isinstance(judge, Judge):
        raise ConfigError(f"judge {name} compares two responses: list it in pairwise_judges")
    return judge


def _pairwise_judge(name: str, config: ComparisonConfig) -> PairwiseJudge:
    judge = load_judge(name, config.evaluation.judge_settings)
    if not isinstance(judge, PairwiseJudge):
        raise ConfigError(f"judge {name} scores single responses: list it in judges")
    return judge
