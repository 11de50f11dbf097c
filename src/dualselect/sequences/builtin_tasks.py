"""The built-in sequence: five generated tasks that need no download.

Each task sorts the same kind of customer message, by a convention of its own. The conventions are arbitrary words, so
a model that was not trained on a task scores 0, and a model that learns the next convention forgets the last one.
"""

from typing import Any, Literal

from dualselect.data.builtin.example import seeded


TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "delivery": (
        ("my parcel", "the blue lamp", "my order", "the second box", "the sofa", "my new phone", "the gift set"),
        ("has not arrived yet", "was left at the wrong door", "is still on its way", "came two days late",
         "seems to be lost", "cannot be tracked"),
    ),
    "payment": (
        ("my invoice", "the last bill", "my card", "the refund", "the deposit", "my monthly fee", "the receipt"),
        ("was charged twice", "shows the wrong amount", "has not been paid back", "was declined",
         "is missing a discount", "does not match my contract"),
    ),
    "account": (
        ("my password", "the login page", "my profile", "the second user", "my email address", "the sign-in code",
         "my account"),
        ("does not work any more", "has to be changed", "is locked since Monday", "cannot be found",
         "was closed by mistake", "shows another name"),
    ),
    "quality": (
        ("the kettle", "my jacket", "the left speaker", "the screen", "the zipper", "one of the chairs", "the plug"),
        ("broke after a week", "has a scratch", "makes a strange noise", "does not switch on", "is the wrong color",
         "came without a screw"),
    ),
}  # fmt: skip
"""Subjects and complaints of each topic."""
OPENINGS = ("Hello, ", "", "Good morning, ", "Hi team, ", "Please help: ", "Once more: ", "To whom it may concern, ")
CLOSINGS = (".", ". Thank you.", ". What can I do?", ". Please answer soon.", "!", ". Best wishes, Kim.")
CONVENTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "colors": (
        "Which color does this message get?",
        {"delivery": "amber", "payment": "violet", "account": "teal", "quality": "crimson"},
    ),
    "rooms": (
        "Which room takes this message?",
        {"delivery": "attic", "payment": "cellar", "account": "porch", "quality": "garage"},
    ),
    "birds": (
        "Which bird carries this message?",
        {"delivery": "heron", "payment": "magpie", "account": "owl", "quality": "finch"},
    ),
    "metals": (
        "Which metal marks this message?",
        {"delivery": "copper", "payment": "silver", "account": "nickel", "quality": "zinc"},
    ),
    "rivers": (
        "Which river does this message follow?",
        {"delivery": "Elbe", "payment": "Tagus", "account": "Rhone", "quality": "Seine"},
    ),
}
"""The question and the answer of each topic, by task."""
TRAIN_ROWS, TEST_ROWS = 160, 48


def builtin_task(name: str, split: Literal["train", "test"]) -> list[dict[str, Any]]:
    """Rows of a built-in task: `id`, `prompt`, `completion`, `category` (the topic).

    The two splits share no message. Topics are equally frequent, up to messages that were drawn twice.

    Args:
        name: One of `CONVENTIONS`.
        split: `train` or `test`.
    """
    question, answers = CONVENTIONS[name]
    chance = seeded("sequence", name)
    rows: list[dict[str, Any]] = []
    for topic, (subjects, complaints) in TOPICS.items():
        messages = [f"{subject} {complaint}" for subject in subjects for complaint in complaints]
        seeded("topic", topic).shuffle(messages)
        cut = round(len(messages) * 0.75)
        share, part = (TRAIN_ROWS, messages[:cut]) if split == "train" else (TEST_ROWS, messages[cut:])
        for number in range(share // len(TOPICS)):
            text = f"{chance.choice(OPENINGS)}{part[number % len(part)]}{chance.choice(CLOSINGS)}"
            text = text[0].upper() + text[1:]
            rows.append(
                {
                    "id": f"{name}-{split}-{topic}-{number}",
                    "prompt": [{"role": "user", "content": f"{question}\n{text}"}],
                    "completion": [{"role": "assistant", "content": answers[topic]}],
                    "category": topic,
                }
            )
    unique = {str(row["prompt"]): row for row in rows}
    found = list(unique.values())
    chance.shuffle(found)
    return found
