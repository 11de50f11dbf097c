"""What a comparison measures with, loaded and checked, so that nothing stops it after hours."""

from dataclasses import dataclass

from dualselect.comparison.config import ComparisonConfig
from dualselect.comparison.materials import asked_sha256
from dualselect.comparison.preferences import averaged_suites
from dualselect.comparison.run_plan import TEST, VALIDATION
from dualselect.comparison.tuning import has_balance
from dualselect.errors import ConfigError, DataError
from dualselect.evaluation.evaluating import judges_of
from dualselect.evaluation.suite import Suite
from dualselect.evaluation.suites import load_suites
from dualselect.judges import Judge, PairwiseJudge, load_judge


@dataclass(frozen=True)
class Measured:
    """What the runs are measured with.

    Attributes:
        suites: Of the table.
        pairwise: Judges for win rates.
        asked: Hash of prompts and judges, by name of the evaluation.
    """

    suites: list[Suite]
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
    known = {(suite.purpose, prompt.sha256) for suite in suites for prompt in suite.prompts}
    both = sum((suite.purpose, prompt.sha256) in known for suite in chosen_on for prompt in suite.prompts)
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
    return Measured(suites, [_pairwise_judge(name, config) for name in plan.pairwise_judges], asked)


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
