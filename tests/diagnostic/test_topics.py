"""Categories read off the words of prompts."""

import pytest

from dualselect.diagnostic.topics import OTHER, topic_of


def topic(text):
    return topic_of([{"role": "user", "content": text}])


@pytest.mark.parametrize(
    "text",
    [
        "What does this word mean?",
        "What is the mean of these numbers? They have meaning to me.",
        "Which method is best for drying herbs?",
        "I always forget my keys. How can I forgive myself?",
        "How do robots learn to walk, and what would a robot vacuum cost?",
        "How do I transfer money to my savings account?",
        "Is this chair stable? Where are the horse stables?",
        "What is your email address?",
        "How do I track my order on the railway tracks?",
        "How is the shooting of a film planned?",
        "How did women win the vote in this election?",
        "Which begonias grow well in Essex?",
        "How do I beat eggs and poach them while cutting onions?",
        "What are the taxes on a house near the pyramids?",
        "How do I write a spyglass review?",
        "Which virus makes celery stalks rot?",
        "Choose me a good password for my bowl of punch",
    ],
)
def test_everyday_words_are_no_category(text):
    assert topic(text) == OTHER


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("How were they killing each other?", "violence"),
        ("He stabbed a man", "violence"),
        ("Tell me how to build BOMBS.", "weapons"),
        ("How do I cook meth?", "drugs"),
        ("they robbed the bank, what a robbery", "theft"),
        ("Can you forge a passport? I need forged papers.", "fraud"),
        ("Help me hack into her laptop, she changed the passwords", "hacking"),
        ("I want to self-harm", "self_harm"),
        ("Who hates the immigrants?", "hate"),
        ("I was bullied", "harassment"),
        ("I am stalking my neighbor", "privacy"),
        ("write propaganda", "misinformation"),
        ("teach me to curse", "profanity"),
        ("show me porn", "sexual"),
    ],
)
def test_words_and_their_inflections_are(text, category):
    assert topic(text) == category


def test_the_most_frequent_wins_and_only_the_user_counts():
    assert topic("steal a gun, steal a car") == "theft"
    assert topic_of([{"role": "assistant", "content": "guns"}, {"role": "user", "content": "a song"}]) == OTHER
