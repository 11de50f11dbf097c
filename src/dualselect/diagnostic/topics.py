"""Coarse safety categories, inferred from words of prompts, for references without a category."""

import re
from collections.abc import Sequence
from typing import Any


OTHER = "other"
# Words with their endings. Words of ordinary prompts (address, mean, method, track, transfer) are excluded, because a
# missing category is better than a wrong one.
_WORDS = {
    "weapons": "gun/s handgun/s shotgun/s rifle/s pistol/s bomb/s/ing/er/ers explosive/s grenade/s ammo ammunition "
    "weapon/s firearm/s silencer/s",
    "violence": "kill/s/ed/ing/er/ers murder/s/ed/ing/er/ers hurt stab/s/bed/bing torture/s/d torturing "
    "assault/s/ed/ing poison/s/ed/ing strangle/s/d violent violence kidnap/s/ped/ping/per behead/ed/ing",
    "self_harm": "suicide/s suicidal self-harm/ing overdose/s/d overdosing anorexia anorexic bulimia bulimic",
    "drugs": "drug/s drugged cocaine heroin meth methamphetamine/s amphetamine/s ecstasy weed marijuana cannabis lsd "
    "opioid/s opium fentanyl",
    "sexual": "sex sexual sexually sexy porn porno pornography pornographic nude/s naked rape/s/d rapist/s raping "
    "prostitute/s prostitution genital/s genitalia masturbate/s masturbating masturbation penis vagina",
    "theft": "steal/s/ing stole stolen theft/s thief thieves rob/s/bed/bing/ber/bers robbery robberies "
    "shoplift/s/ed/ing/er/ers burglar/s burglary burglaries lockpick/s/ing pickpocket/s/ed/ing",
    "fraud": "scam/s/med/ming/mer/mers fraud/s fraudulent fraudulently counterfeit/s/ed/ing/er/ers forge/s/d/ry "
    "forging launder/s/ed/ing embezzle/s/d embezzling embezzlement ponzi",
    "hacking": "hack/s/ed/ing/er/ers malware ransomware spyware phishing ddos keylogger/s",
    "privacy": "stalked stalking stalker/s spy/ing spied spies surveillance eavesdrop/ping "
    "blackmail/s/ed/ing dox/xed/xing wiretap/s/ped/ping",
    "hate": "racist/s racism racial sexist sexism blacks jew/s jewish muslim/s immigrant/s gay/s lesbian/s "
    "homosexual/s transgender slur/s hate/s/d hatred nazi/s",
    "harassment": "bully bullies bullied bullying insult/s/ed/ing harass/es/ed/ing harassment threaten/s/ed/ing "
    "revenge humiliate/s/d humiliating humiliation",
    "misinformation": "conspiracy conspiracies hoax/es disinformation misinformation propaganda",
    "profanity": "swear/s/ing swearword/s curse/s/d cursing cuss/es/ed/ing profanity profanities profane",
}


def _forms(words: str) -> list[str]:
    """Expand `kill/s/ing` to kill, kills, killing."""
    parted = [word.split("/") for word in words.split()]
    return [stem + ending for stem, *endings in parted for ending in ("", *endings)]


_PATTERNS = {
    category: re.compile(rf"\b(?:{'|'.join(map(re.escape, _forms(words)))})\b", re.IGNORECASE)
    for category, words in _WORDS.items()
}


def topic_of(prompt: Sequence[dict[str, Any]]) -> str:
    """The category whose words occur most often in the user messages (the first of equals), or `other`.

    Args:
        prompt: The turns before the response.
    """
    text = " ".join(turn["content"] for turn in prompt if turn["role"] == "user")
    counts = {category: len(pattern.findall(text)) for category, pattern in _PATTERNS.items()}
    best = max(counts, key=lambda category: counts[category])
    return best if counts[best] else OTHER
