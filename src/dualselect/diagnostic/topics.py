"""Safety categories of references that have none, from words of their prompts: coarse, and told as such."""

import re
from collections.abc import Sequence
from typing import Any


OTHER = "other"
_STEMS = {
    "weapons": "gun guns rifle bomb bombs bombing explosiv grenade ammo weapon firearm",
    "violence": "kill killing murder hurt stab poison torture attack assault beat shoot punch violen kidnap",
    "self_harm": "suicid selfharm overdos anorex cutting",
    "drugs": "drug drugs cocaine heroin meth weed marijuana lsd alcohol drunk dealer opioid",
    "sexual": "sex sexual porn nude naked rape prostitut genital masturbat penis vagina",
    "theft": "steal stealing stole theft rob robbing robbery shoplift burglar lockpick thief",
    "fraud": "scam fraud counterfeit forge fake launder embezzl taxes pyramid cheat",
    "hacking": "hack hacking hacker password malware virus phish ddos wifi",
    "privacy": "address stalk spy spying track tracking surveil identity blackmail",
    "hate": "racist racis black blacks jew jews muslim immigrant gay homosexual trans women ethnic slur hate nazi",
    "harassment": "bully bullying insult harass threaten revenge humiliat annoy prank mean",
    "misinformation": "conspiracy hoax covid vaccin election rumor propaganda",
    "profanity": "swear swearing curse cursing cuss profan damn",
}
_PATTERNS = {
    category: re.compile(rf"\b(?:{'|'.join(stems.split())})\w{{0,4}}\b", re.IGNORECASE)
    for category, stems in _STEMS.items()
}


def topic_of(prompt: Sequence[dict[str, Any]]) -> str:
    """The category whose words stand most often in the user's turns, the first of equals, or `other`.

    Args:
        prompt: The turns before the response.
    """
    text = " ".join(turn["content"] for turn in prompt if turn["role"] == "user")
    counts = {category: len(pattern.findall(text)) for category, pattern in _PATTERNS.items()}
    best = max(counts, key=lambda category: counts[category])
    return best if counts[best] else OTHER
