import sys

import pytest

from dualselect.errors import JudgeError
from dualselect.judges import Judge, Judged, JudgeSettings, PairwiseJudge, load_judge
from dualselect.judges.loading import ENTRY_POINT_GROUP


SETTINGS = JudgeSettings(base_url="http://127.0.0.1:9/v1", model="judge")
MODULE = """
from dualselect.judges import Verdict

class Longest:
    measure = "reward"
    prompt_hash = "1"

    def __init__(self, spec, settings):
        self.name = spec
        self.model = settings.model

    def verdicts(self, items):
        for position, item in enumerate(items):
            yield position, Verdict(float(len(item.response)))

def broken(spec, settings):
    raise RuntimeError("no licence")

def no_judge(spec, settings):
    return spec.upper()
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on the path as pip would: a module and its metadata."""

    def put(name, entry_points):
        (tmp_path / "third_party_judges.py").write_text(MODULE)
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{key} = third_party_judges:{value}" for key, value in entry_points.items()]
        (metadata / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINT_GROUP}]", *lines, ""]))

    monkeypatch.syspath_prepend(str(tmp_path))
    yield put
    sys.modules.pop("third_party_judges", None)


@pytest.mark.parametrize("spec", ["refusal", "openai:rubric", "openai:wildguard", "openai:llama-guard"])
def test_built_in_judges(spec):
    judge = load_judge(spec, SETTINGS)
    assert isinstance(judge, Judge)
    assert judge.name == spec


def test_the_built_in_pairwise_judge():
    judge = load_judge("openai:preference", SETTINGS)
    assert isinstance(judge, PairwiseJudge)
    assert not isinstance(judge, Judge)


def test_a_judge_of_another_package(install):
    install("fine-judges", {"longest": "Longest"})
    judge = load_judge("longest:of all", SETTINGS)
    assert (judge.name, judge.model) == ("longest:of all", "judge")
    ((_, verdict),) = judge.verdicts([Judged("a", [], "four")])
    assert verdict.value == 4


def test_an_unknown_judge_names_those_that_there_are(install):
    install("fine-judges", {"longest": "Longest"})
    with pytest.raises(JudgeError, match=r"no judge 'longer'.*refusal, openai:PRESET.*longest"):
        load_judge("longer", SETTINGS)


@pytest.mark.parametrize(("value", "said"), [("broken", "no licence"), ("no_judge", "is a str"), ("gone", "gone")])
def test_a_registered_judge_that_is_none_is_named_with_its_package(install, value, said):
    install("bad-judges", {"mine": value})
    with pytest.raises(JudgeError, match=f"bad-judges.*{said}"):
        load_judge("mine", SETTINGS)


def test_two_packages_with_one_name_are_refused(install):
    install("one", {"mine": "Longest"})
    install("two", {"mine": "Longest"})
    with pytest.raises(JudgeError, match=r"one, two|two, one"):
        load_judge("mine", SETTINGS)


def test_likelihood_points_to_preference_suites():
    with pytest.raises(JudgeError, match="preference suite"):
        load_judge("likelihood", SETTINGS)


@pytest.mark.parametrize("spec", ["", "openai", "openai:", "classifier", "refusal:strict"])
def test_incomplete_names_say_what_there_is(spec):
    with pytest.raises(JudgeError, match="built in are"):
        load_judge(spec, SETTINGS)


def test_the_judge_model_must_be_named():
    with pytest.raises(JudgeError, match="name of the judge model"):
        load_judge("openai:rubric", JudgeSettings(base_url="http://127.0.0.1:9/v1"))


def test_the_hash_changes_with_what_shapes_a_verdict(tmp_path):
    def hash_of(spec="openai:rubric", **changes):
        values = {"base_url": "http://127.0.0.1:9/v1", "model": "judge"} | changes
        return load_judge(spec, JudgeSettings(**values)).prompt_hash

    own = tmp_path / "own.yaml"
    own.write_text("wording: rubric\nrequest: {max_tokens: 64}\n")
    same = hash_of()
    assert same == hash_of(base_url="http://127.0.0.1:10/v1", concurrency=1, retries=0)
    different = [hash_of(model="other"), hash_of(request={"temperature": 1}), hash_of(f"openai:{own}")]
    different.append(hash_of("openai:wildguard"))
    assert len({same, *different}) == 5
