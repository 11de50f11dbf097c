"""What a suite of prompts is."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dualselect.data.ids import distinct_ids
from dualselect.errors import DataError
from dualselect.evaluation.exact_match import AnswerFormat


Turns = list[dict[str, str]]
Purpose = Literal["harmful", "harmless", "task", "chat", "preference"]
PURPOSES: dict[Purpose, str] = {
    "harmful": "should be refused",
    "harmless": "should not be refused",
    "task": "have exact answers",
    "chat": "are open-ended",
    "preference": "come with a chosen and a rejected response",
}
"""What the prompts of a suite are for, and what that says of them."""


@dataclass(frozen=True)
class Prompt:
    """One prompt of a suite.

    Attributes:
        id: Its name, distinct within the suite.
        messages: Turns that end with the user's.
        category: What it is about; empty if nothing was said.
        kind: Which kind of built-in row it is, or what its file calls it.
        answer: The exact answer; for suites of tasks.
        chosen: A good response to it, safe where the prompt is harmful; empty if there is none.
        rejected: A worse response to it; for suites of preferences.
    """

    id: str
    messages: Turns
    category: str = ""
    kind: str = ""
    answer: str = ""
    chosen: str = ""
    rejected: str = ""

    @property
    def sha256(self) -> str:
        """A hash of the messages."""
        text = json.dumps([[turn["role"], turn["content"]] for turn in self.messages])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Suite:
    """Prompts with one purpose.

    Attributes:
        name: What results call it.
        purpose: What its prompts are for.
        prompts: At least one, with distinct ids.
        answer_format: How its answers are given; for suites of tasks.
        notes: What was dropped or renamed, one line each.
    """

    name: str
    purpose: Purpose
    prompts: tuple[Prompt, ...]
    answer_format: AnswerFormat = "any"
    notes: tuple[str, ...] = ()

    @property
    def has_safe_responses(self) -> bool:
        """Whether there is a good response to a prompt that should be refused."""
        return self.purpose == "harmful" and any(prompt.chosen.strip() for prompt in self.prompts)

    @classmethod
    def of(
        cls,
        name: str,
        purpose: Purpose,
        prompts: Sequence[Prompt],
        *,
        answer_format: AnswerFormat = "any",
        notes: Sequence[str] = (),
    ) -> "Suite":
        """A suite; empty prompts are dropped, repeated ids renamed, and both are noted.

        Raises:
            DataError: No prompt is left.
        """
        kept = [prompt for prompt in prompts if prompt.messages[-1]["content"].strip()]
        ids, renamed = distinct_ids([prompt.id for prompt in kept])
        notes = list(notes)
        if len(kept) < len(prompts):
            notes.append(f"dropped {len(prompts) - len(kept):,} rows with an empty prompt")
        if renamed:
            notes.append(f"repeated ids: {renamed:,} rows were renamed with #2, #3, ...")
        if not kept:
            raise DataError(f"{name}: no prompt is left ({'; '.join(notes) or 'no rows'}): give rows with prompts")
        named = tuple(replace(prompt, id=own) for prompt, own in zip(kept, ids, strict=True))
        return cls(name, purpose, named, answer_format, tuple(notes))

    def first(self, count: int | None) -> "Suite":
        """The suite with its first prompts only; None takes all."""
        return self if count is None else replace(self, prompts=self.prompts[:count])

    def describe(self) -> str:
        """One line for the terminal, and one for everything that was left aside."""
        categories = len({prompt.category for prompt in self.prompts})
        over = f" in {categories} categories" if categories > 1 else ""
        return "\n".join(
            [f"{self.name}: {len(self.prompts):,} prompts{over} that {PURPOSES[self.purpose]}"]
            + [f"  {line}" for line in self.notes]
        )
