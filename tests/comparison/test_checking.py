"""What a comparison cannot be measured with is told before anything is trained."""

import json

import pytest

from dualselect.comparison import compare, read_comparison
from dualselect.errors import ConfigError


TUNED = {"ema": {"tune": {"decay": [0.5, 0.9]}}}


@pytest.fixture
def prompts(tmp_path):
    """The path of a file of prompts with answers."""
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"question {n}?", "answer": f"{n}"}) + "\n" for n in range(3)))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluation": {"suites": ["harmful:{prompts}"], "kl_to_start": True}}, "no suite has safe responses"),
        (
            {"methods": TUNED, "evaluation": {"suites": ["builtin:2"], "validation_suites": ["chat:{prompts}"]}},
            "validation_suites chat:{prompts} have none of these under the judges here",
        ),
        (
            {
                "methods": TUNED,
                "evaluation": {"suites": ["builtin:2"], "validation_suites": ["harmful:{prompts}"], "judges": []},
            },
            "have none of these under the judges here",
        ),
        (
            {"evaluation": {"suites": ["task:{prompts}"], "judges": ["refusal"]}},
            "judge refusal measures refusal, which says nothing of the suites",
        ),
        ({"evaluation": {"suites": ["builtin:2"], "judges": ["refusal", "refusal"]}}, "named twice"),
        ({"evaluation": {"suites": ["builtin:2"], "pairwise_judges": ["refusal"]}}, "looks at one response"),
    ],
)
def test_what_nothing_can_be_measured_with_is_refused(comparison_file, prompts, tmp_path, changes, said):
    changes = json.loads(json.dumps(changes).replace("{prompts}", str(prompts)))
    with pytest.raises(ConfigError) as told:
        compare(read_comparison(comparison_file(**changes)), pytest.fail)
    assert said.replace("{prompts}", str(prompts)) in str(told.value)
    assert not (tmp_path / "comparison").exists()
