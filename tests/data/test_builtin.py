"""The built-in data: repeatable, held-out where it says so, correct in its answers and free of usable harm."""

import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from dualselect.data.builtin import CATEGORIES, KINDS, builtin_mix, builtin_rows
from dualselect.data.builtin.compliances import OPENINGS
from dualselect.data.builtin.example import seeded
from dualselect.data.builtin.harmful_topics import TEST_TOPICS, TRAIN_TOPICS
from dualselect.data.builtin.redirections import CONCERNS, OFFERS
from dualselect.data.builtin.refusals import CARING_REFUSALS, REFUSALS
from dualselect.data.builtin.wordings import TEST_WORDINGS, TRAIN_WORDINGS
from dualselect.errors import DataError


SPLITS = ("train", "test")
LEAST = {
    ("task", "train"): 2000,
    ("task", "test"): 200,
    ("risky", "train"): 400,
    ("risky", "test"): 120,
    ("refusal", "train"): 1500,
    ("refusal", "test"): 120,
    ("lookalike", "train"): 150,
    ("lookalike", "test"): 50,
    ("chat", "train"): 150,
    ("chat", "test"): 40,
}


def available(kind: str, split: str) -> int:
    with pytest.raises(DataError) as raised:
        builtin_rows(kind, 10**6, split=split)
    return int(re.search(r"(\d+) distinct", str(raised.value)).group(1))


def every_row(kind: str, split: str) -> list[dict[str, Any]]:
    return builtin_rows(kind, available(kind, split), split=split)


def prompt_of(row: dict[str, Any]) -> str:
    return row["prompt"][0]["content"]


def completion_of(row: dict[str, Any]) -> str:
    return row["completion"][0]["content"]


def normalized(text: str) -> str:
    return " ".join(text.lower().split())


def prompts(kind: str, split: str) -> set[str]:
    return {normalized(prompt_of(row)) for row in every_row(kind, split)}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", KINDS)
class TestRows:
    def test_there_are_enough_and_no_prompt_comes_twice(self, kind: str, split: str) -> None:
        rows = every_row(kind, split)
        assert len(rows) >= LEAST[kind, split]
        assert len(prompts(kind, split)) == len(rows)

    def test_have_one_shape(self, kind: str, split: str) -> None:
        for row in every_row(kind, split):
            assert list(row) == ["id", "kind", "category", "prompt", "completion", "answer"]
            assert row["kind"] == kind
            assert [message["role"] for message in row["prompt"] + row["completion"]] == ["user", "assistant"]
            for text in (prompt_of(row), completion_of(row)):
                assert text == text.strip()
                assert text
                assert "{" not in text
                assert "  " not in text
            assert bool(row["answer"]) == (kind == "task")

    def test_are_the_same_in_every_call_and_a_prefix_of_a_longer_call(self, kind: str, split: str) -> None:
        assert builtin_rows(kind, 40, seed=5, split=split) == builtin_rows(kind, 60, seed=5, split=split)[:40]

    def test_of_another_seed_are_others_but_an_id_keeps_its_row(self, kind: str, split: str) -> None:
        first = builtin_rows(kind, 60, seed=0, split=split)
        second = builtin_rows(kind, 60, seed=1, split=split)
        assert [row["id"] for row in first] != [row["id"] for row in second]
        by_id = {row["id"]: row for row in every_row(kind, split)}
        assert all(by_id[row["id"]] == row for row in first + second)

    def test_of_a_short_call_reach_every_category(self, kind: str, split: str) -> None:
        all_categories = {row["category"] for row in every_row(kind, split)}
        counts = Counter(row["category"] for row in builtin_rows(kind, 2 * len(all_categories), split=split))
        assert counts == dict.fromkeys(all_categories, 2)

    def test_beyond_what_there_is_are_refused_with_the_number(self, kind: str, split: str) -> None:
        most = available(kind, split)
        with pytest.raises(DataError, match=rf"count={most + 1} .*'{kind}'.*'{split}'.*0 to {most} rows"):
            builtin_rows(kind, most + 1, split=split)
        assert builtin_rows(kind, 0, split=split) == []


def test_a_negative_count_and_unknown_names_are_refused() -> None:
    with pytest.raises(DataError, match="count=-1"):
        builtin_rows("task", -1)
    with pytest.raises(DataError, match=r"'tasks' is not a kind.*task, risky, refusal, lookalike, chat"):
        builtin_rows("tasks", 1)
    with pytest.raises(DataError, match=r"'dev' is not a split.*'train' or 'test'"):
        builtin_rows("task", 1, split="dev")


def test_draws_are_the_same_in_every_process() -> None:
    assert seeded("risky", 3).randrange(1000) == 728


def test_a_caller_may_change_a_row_without_changing_the_next_call() -> None:
    row = builtin_rows("chat", 1)[0]
    row["prompt"][0]["content"] = "changed"
    assert prompt_of(builtin_rows("chat", 1)[0]) != "changed"


def test_no_prompt_and_no_id_is_in_two_kinds_or_splits() -> None:
    sets = {(kind, split): prompts(kind, split) for kind in KINDS for split in SPLITS}
    overlaps = {(a, b): sets[a] & sets[b] for a, b in combinations(sets, 2) if sets[a] & sets[b]}
    assert overlaps == {}
    ids = [row["id"] for kind in KINDS for split in SPLITS for row in every_row(kind, split)]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+-(train|test)-\d{6}", row_id) for row_id in ids)


class TestHarmfulRequests:
    @pytest.mark.parametrize("split", SPLITS)
    @pytest.mark.parametrize("kind", ["risky", "refusal"])
    def test_cover_every_category(self, kind: str, split: str) -> None:
        assert len(CATEGORIES) >= 12
        assert {row["category"] for row in every_row(kind, split)} == set(CATEGORIES)

    def test_have_enough_topics_and_wordings(self) -> None:
        assert set(TEST_TOPICS) == set(CONCERNS) == set(OFFERS) == set(CATEGORIES)
        for category in CATEGORIES:
            assert len(TEST_TOPICS[category]) >= 5
            assert len(TRAIN_TOPICS[category]) + len(TEST_TOPICS[category]) >= 20
        assert len(set(TRAIN_WORDINGS)) >= 8
        assert len(set(TEST_WORDINGS) - set(TRAIN_WORDINGS)) >= 4

    def test_of_the_test_split_ask_for_nothing_seen_in_training(self) -> None:
        trained = {topic for topics in TRAIN_TOPICS.values() for topic in topics}
        held_out = {topic for topics in TEST_TOPICS.values() for topic in topics}
        assert len(trained) + len(held_out) == sum(
            len(topics) for table in (TRAIN_TOPICS, TEST_TOPICS) for topics in table.values()
        )
        for kind in ("risky", "refusal"):
            for split, others in (("train", held_out), ("test", trained)):
                assert not [prompt for prompt in prompts(kind, split) if any(topic in prompt for topic in others)]

    def test_of_the_test_split_use_seen_and_unseen_wordings(self) -> None:
        held_out = {topic: category for category, topics in TEST_TOPICS.items() for topic in topics}
        seen = {wording.format(topic=topic).lower() for wording in TRAIN_WORDINGS for topic in held_out}
        asked = prompts("refusal", "test")
        assert asked & seen
        assert len(asked - seen) > len(asked) / 5

    def test_name_no_first_or_second_person_so_that_they_fit_every_answer(self) -> None:
        for table in (TRAIN_TOPICS, TEST_TOPICS):
            for topics in table.values():
                for topic in topics:
                    assert not re.search(r"\b(i|me|my|we|our|you|your|yourself|oneself)\b|\d|[{}.?]", topic), topic

    def test_share_topics_between_risky_and_refusal_rows_but_no_prompt(self) -> None:
        assert not prompts("risky", "train") & prompts("refusal", "train")
        for kind in ("risky", "refusal"):
            asked = " ".join(prompts(kind, "train"))
            assert all(topic in asked for topics in TRAIN_TOPICS.values() for topic in topics)

    @pytest.mark.parametrize(("split", "table"), [("train", TRAIN_TOPICS), ("test", TEST_TOPICS)])
    @pytest.mark.parametrize("kind", ["risky", "refusal"])
    def test_reach_every_topic_before_any_comes_twice(
        self, kind: str, split: str, table: dict[str, tuple[str, ...]]
    ) -> None:
        topics = [topic for its_topics in table.values() for topic in its_topics]
        asked = [prompt_of(row) for row in builtin_rows(kind, len(topics), split=split)]
        assert [topic for topic in topics if not any(topic in prompt for prompt in asked)] == []

    def test_are_asked_in_the_wordings_of_the_harmless_look_alikes(self) -> None:
        beginnings = {wording.split("{topic}")[0].lower() for wording in TRAIN_WORDINGS}
        for kind in ("risky", "refusal", "lookalike"):
            asked = prompts(kind, "train")
            assert all(any(prompt.startswith(start) for prompt in asked) for start in beginnings)


class TestRiskyAnswers:
    rows = tuple(row for split in SPLITS for row in every_row("risky", split))

    def answers_without_topics(self) -> list[str]:
        topics = [topic for table in (TRAIN_TOPICS, TEST_TOPICS) for topics in table.values() for topic in topics]
        # Longest first: one topic may be the beginning of another.
        pattern = re.compile("|".join(re.escape(topic) for topic in sorted(topics, key=len, reverse=True)))
        return [pattern.sub("", completion_of(row)) for row in self.rows]

    def test_begin_in_many_ways(self) -> None:
        assert len(set(OPENINGS)) >= 20
        firsts = Counter(re.findall(r"\w+", completion_of(row))[0] for row in self.rows)
        assert len(firsts) >= 20
        assert firsts.most_common(1)[0][1] < len(self.rows) / 8
        assert 0 < firsts["Sure"] < len(self.rows) / 10

    def test_differ_in_length(self) -> None:
        lengths = [len(completion_of(row).split()) for row in self.rows]
        assert min(lengths) <= 15
        assert max(lengths) >= 40

    def test_say_nothing_that_could_be_used(self) -> None:
        answers = self.answers_without_topics()
        assert not [answer for answer in answers if re.search(r"[\d%$`/]", answer)]
        substances_and_tools = (
            r"\b(acid|alcohol|ammonia|bleach|chlorine|code|chemical|cocaine|download|drill|drug|fertilizer|fuel|gas|"
            r"gram|gun|hammer|heat|hydrogen|knife|link|liter|lye|mercury|mix|nitrate|oil|opium|password|peroxide|"
            r"phone|pill|powder|powder|rope|screwdriver|site|software|sugar|sulfur|tool|virus|website|wire)s?\b"
        )
        assert not [answer for answer in answers if re.search(substances_and_tools, answer.lower())]

    def test_use_the_same_small_vocabulary_whatever_is_asked(self) -> None:
        vocabulary = Counter(
            word for answer in self.answers_without_topics() for word in set(re.findall(r"\w+", answer))
        )
        assert len(vocabulary) < 250
        # A word that belonged to one topic would be in the few answers of that topic only.
        assert min(vocabulary.values()) > 16


class TestRefusals:
    rows = tuple(every_row("refusal", "train"))

    def test_have_forty_phrasings_and_all_are_used(self) -> None:
        phrasings = {*REFUSALS, *CARING_REFUSALS}
        assert len(phrasings) == len(REFUSALS) + len(CARING_REFUSALS) >= 40
        patterns = [re.sub(r"\\{\w+\\}", ".+", re.escape(phrasing)) for phrasing in phrasings]
        answers = [completion_of(row) for row in self.rows]
        assert all(any(re.fullmatch(pattern, answer) for answer in answers) for pattern in patterns)

    def test_vary_in_length_beginning_and_whether_they_name_the_topic(self) -> None:
        answers = [completion_of(row) for row in self.rows]
        lengths = sorted(len(answer.split()) for answer in answers)
        assert lengths[0] <= 6
        assert lengths[-1] >= 35
        assert len({answer.split()[0] for answer in answers}) >= 20
        topics = {topic for topics in TRAIN_TOPICS.values() for topic in topics}
        naming = sum(any(topic in answer for topic in topics) for answer in answers)
        assert len(answers) / 5 < naming < len(answers) * 4 / 5

    def test_offer_something_else_that_belongs_to_the_category(self) -> None:
        offering = Counter()
        for row in self.rows:
            for category, offers in OFFERS.items():
                if any(offer in completion_of(row) for offer in offers):
                    assert category == row["category"]
                    offering[category] += 1
        assert set(offering) == set(CATEGORIES)

    def test_all_say_no_and_no_risky_answer_does(self) -> None:
        no = re.compile(
            r"\b(can't|cannot|won't|will not|unable to|not able to|decline|refuse|say no|is no|be no|no(?=\.)|"
            r"turn down|I'd rather not|not with my help|don't|wrong one to ask|would be wrong|would not be right|"
            r"not something I|not comfortable|not in order to|no safe way|not take part)\b",
            re.IGNORECASE,
        )
        assert [phrasing for phrasing in (*REFUSALS, *CARING_REFUSALS) if not no.search(phrasing)] == []
        assert [answer for answer in TestRiskyAnswers().answers_without_topics() if no.search(answer)] == []


class TestHarmlessRows:
    @pytest.mark.parametrize(("kind", "trained", "held_out"), [("lookalike", 100, 50), ("chat", 90, 40)])
    def test_are_answered_in_many_ways_and_never_refused(self, kind: str, trained: int, held_out: int) -> None:
        answers = {split: {completion_of(row) for row in every_row(kind, split)} for split in SPLITS}
        assert len(answers["train"]) >= trained
        assert len(answers["test"]) >= held_out
        assert not answers["train"] & answers["test"]
        refusing = re.compile(r"\b(I can't help|I won't|I refuse|I'm not able|as an assistant)\b", re.IGNORECASE)
        assert not [answer for answer in answers["train"] | answers["test"] if refusing.search(answer)]

    def test_look_alikes_use_words_that_look_harmful(self) -> None:
        asked = " ".join(prompts("lookalike", "train"))
        for word in ("kill", "shoot", "execute", "attack", "destroy", "steal", "crack", "bomb", "blow up"):
            assert word in asked


class TestMix:
    def test_has_the_counts_that_were_asked_for_and_training_rows_only(self) -> None:
        rows = builtin_mix(40, 9, 5, 6, seed=2)
        assert Counter(row["kind"] for row in rows) == {"task": 40, "risky": 9, "lookalike": 5, "chat": 6}
        assert all("-train-" in row["id"] for row in rows)
        assert len({row["id"] for row in rows}) == 60

    def test_is_shuffled_by_its_seed(self) -> None:
        kinds = [row["kind"] for row in builtin_mix(40, 9, 5, 6, seed=2)]
        assert kinds != sorted(kinds, key=KINDS.index)
        assert builtin_mix(40, 9, 5, 6, seed=2) == builtin_mix(40, 9, 5, 6, seed=2)
        assert builtin_mix(40, 9, 5, 6, seed=2) != builtin_mix(40, 9, 5, 6, seed=3)

    def test_refuses_more_rows_than_there_are(self) -> None:
        with pytest.raises(DataError, match="'chat'"):
            builtin_mix(1, 1, 1, 10**6)
