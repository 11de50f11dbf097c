"""Prompts that stand in both the task data and the references; ids; contrast."""

import pytest
from datasets import Dataset

from dualselect.data import check_overlap, compliance, row_id
from dualselect.data.ids import distinct_ids
from dualselect.errors import DataError


def rows(*prompts, prefix):
    turns = [prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}] for prompt in prompts]
    return Dataset.from_list([{"id": f"{prefix}{n}", "prompt": turn} for n, turn in enumerate(turns)])


def test_overlap_ignores_case_blanks_and_the_system_turn():
    task = rows("How do I\n lie?", "Other", prefix="t")
    system = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "how do i lie? "}]
    references = rows("Different", system, "HOW DO I LIE?", prefix="r")
    assert check_overlap(task, references, allow=True) == 2


def test_all_user_turns_count():
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "How?"},
    ]
    assert check_overlap(rows(talk, prefix="t"), rows("How?", prefix="r"), allow=False) == 0
    assert check_overlap(rows(talk, prefix="t"), rows(talk, prefix="r"), allow=True) == 1


def test_plain_prompts_without_ids():
    texts = Dataset.from_list([{"prompt": "How?"}])
    assert check_overlap(texts, texts, allow=True) == 1


def test_overlap_is_refused_with_ids_unless_allowed():
    same = rows("a", "b", "c", "d", prefix="t"), rows("a", "b", "c", "d", prefix="r")
    with pytest.raises(DataError, match=r"4 of 4 references .*'r0' = task 't0'.*'r2' = task 't2', \.\.\.\).*allow"):
        check_overlap(*same, allow=False)


def test_content_hashes_do_not_change():
    """Ids stand in logs and checkpoints: a new version must not rename rows."""
    assert row_id("q", "a") == "1084cbeec960c946"
    turns = [{"content": "q", "role": "user"}], [{"role": "assistant", "content": "a"}]
    assert row_id(*turns) == row_id("q", "a")
    assert row_id("a", "q") != row_id("q", "a")
    assert row_id([{"role": "system", "content": "q"}], "a") != row_id("q", "a")


def test_repeated_ids_never_collide():
    ids, renamed = distinct_ids(["a", "a#2", "a", "a", "a#2"])
    assert ids == ["a", "a#2", "a#3", "a#4", "a#2#2"]
    assert renamed == 3


def test_the_compliance_of_a_row_is_always_the_same():
    assert compliance("r1") == compliance("r1")
    assert len({compliance(f"r{n}") for n in range(50)}) > 3
