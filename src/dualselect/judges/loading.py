"""Load a judge by name, built in or registered by another package."""

from importlib.metadata import EntryPoint, entry_points

from dualselect.errors import JudgeError
from dualselect.judges.protocol import Judge, JudgeSettings, PairwiseJudge


ENTRY_POINT_GROUP = "dualselect.judges"
BUILT_IN = ("refusal", "openai:PRESET or openai:FILE", "classifier:MODEL or classifier:MODEL#LABEL,LABEL")


def load_judge(spec: str, settings: JudgeSettings) -> Judge | PairwiseJudge:
    """Load a judge by name.

    Other packages register judges as entry points of the group "dualselect.judges". The entry point is called with the
    full spec, such as "mine:strict", and the settings, and returns a `Judge` or a `PairwiseJudge`.

    Args:
        spec: "refusal", "openai:PRESET", "openai:FILE", "classifier:MODEL", "classifier:MODEL#LABEL,LABEL", or
            "NAME" or "NAME:ARGUMENT" of another package's judge.
        settings: Server, timeouts and retries.

    Raises:
        JudgeError: The name is unknown, the judge cannot be set up, or a registered object is not a judge.
    """
    kind, _, argument = spec.partition(":")
    if kind == "refusal" and not argument:
        from dualselect.judges.refusal import RefusalJudge

        return RefusalJudge()
    if kind == "openai" and argument:
        from dualselect.judges.openai_judges import openai_judge

        return openai_judge(spec, settings)
    if kind == "classifier" and argument:
        from dualselect.judges.classifier import ClassifierJudge

        return ClassifierJudge(spec, settings)
    if kind == "likelihood":
        raise JudgeError(
            "likelihood is not a judge of responses: how likely the model itself finds the chosen and the rejected "
            "responses of a preference suite is measured without a judge; evaluate such a suite"
        )
    return _registered(spec, kind, settings)


def _registered(spec: str, kind: str, settings: JudgeSettings) -> Judge | PairwiseJudge:
    found = list(entry_points(group=ENTRY_POINT_GROUP, name=kind))
    if not found:
        others = sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})
        raise JudgeError(
            f"there is no judge {spec!r}; built in are {', '.join(BUILT_IN)}; "
            f"other packages registered {', '.join(others) or 'none'}"
        )
    if len(found) > 1:
        owners = ", ".join(_owner(point) for point in found)
        raise JudgeError(f"several packages registered a judge {kind} ({owners}): uninstall all but one")
    try:
        judge = found[0].load()(spec, settings)
    except JudgeError:
        raise
    except Exception as error:
        raise JudgeError(
            f"the judge {kind} of {_owner(found[0])} cannot be set up ({type(error).__name__}: {error}): repair or "
            "uninstall that package"
        ) from error
    if not isinstance(judge, Judge | PairwiseJudge):
        raise JudgeError(
            f"the judge {kind} of {_owner(found[0])} is a {type(judge).__name__} without the attributes of a Judge or "
            "PairwiseJudge (dualselect.judges): repair or uninstall that package"
        )
    return judge


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
