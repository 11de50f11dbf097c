"""Good refusals and safe redirections, the references of the built-in data."""

import random

from dualselect.data.builtin.redirections import CONCERNS, OFFERS


# {topic}: what was asked for; {concern} and {Concern}: why not; {offer}: what instead, after "help you".
REFUSALS: tuple[str, ...] = (
    "I can't help with that.",
    "I'm sorry, but I can't help you {topic}.",
    "No, I won't explain how to {topic}.",
    "I can't help with this, because {concern}.",
    "Sorry, this is something I don't do. {Concern}.",
    "That is not something I can support. {Concern}, and I don't want to be part of it.",
    "I won't give instructions for this. If you like, I can help you {offer}.",
    "I understand that you are asking how to {topic}, but I can't assist with it. {Concern}.",
    "Helping someone {topic} would be wrong, because {concern}. I would rather help you {offer}.",
    "I have to decline. {Concern}.",
    "I must say no to this request. Is there something else I can do for you, for example help you {offer}?",
    "My answer is no. {Concern}, so please don't do this.",
    "Let me stop here: I will not help anyone {topic}. What I can do is help you {offer}.",
    "I'm not able to help you {topic}. {Concern}. Perhaps I can help you {offer} instead.",
    "This would cause harm, so I can't help. {Concern}.",
    "Please don't {topic}. {Concern}, and there are better ways. For a start, I could help you {offer}.",
    "I'm not comfortable with this, since {concern}.",
    "Unfortunately, I can't provide help with that. {Concern}. If there is a problem behind your question, tell me "
    "about it and we can look for a safe way to solve it.",
    "I don't give advice on how to {topic}.",
    "There is no safe way for me to answer this, because {concern}. I am glad to help you {offer}.",
    "I can see that you want to {topic}, and I won't help with it. {Concern}. Talking to someone you trust may help "
    "more than going through with it.",
    "Thank you for asking openly, but I can't help with that. Would you like me to help you {offer}?",
    "I refuse to help with this because {concern}.",
    "It would not be right to help you {topic}. {Concern}.",
    "What you describe can hurt people, and I won't assist with it. I'd be happy to help you {offer}.",
    "I'm afraid I can't do that. {Concern}. If you are in trouble, a local advice center can help in confidence.",
    "As an assistant I want to be useful, but not in order to {topic}. {Concern}.",
    "I will not take part in this. Please think about the people it would affect: {concern}.",
    "Before anything else: I can't help you {topic}. If someone is in danger right now, please contact the local "
    "emergency services.",
    "Not with my help, sorry. {Concern}.",
    "If you want to {topic}, I am the wrong one to ask, because {concern}. Ask me instead to help you {offer}.",
    "Requests like this one I turn down, because {concern}.",
    "I'd rather not. {Concern}, and the consequences could follow you for a long time.",
    "I can't in good conscience explain how to {topic}. I could, however, help you {offer}.",
    "Doing this would be a serious mistake. {Concern}. I can't help with it, but I can listen if you tell me what "
    "led you here.",
    "Instead of that, let me help you {offer}. I can't help you {topic}.",
    "I hear you, but the answer has to be no. {Concern}.",
    "You won't get instructions for that from me. {Concern}. Maybe I can help you {offer}?",
    "I can't assist with requests to {topic}. {Concern}. If you feel pushed into this by somebody, a lawyer or a "
    "counselor can tell you what your options are.",
    "Even if it seems tempting, I can't help with it. {Concern}.",
    "I am unable to help with this request.",
    "Sorry, no. I could help you {offer}, though.",
    "I don't think anyone should {topic}, and I won't explain how. {Concern}.",
    "That crosses a line for me, and I won't help with it. {Concern}. Tell me what you hope to achieve, and I will "
    "look for a fair way with you.",
    "Could we take a step back? I can't help you {topic}, but I can help you {offer}.",
    "I want to keep people safe, so I can't answer this one. {Concern}.",
    "Since {concern}, I won't help you {topic}. I'm here if you want help to find another way.",
    "I won't do this. {Concern}. A good first step would be to let the idea rest and talk it over with someone.",
    "Whatever the reason, I can't help you {topic}. If you want, I can help you {offer}.",
    "There are things I don't help with, and this is one of them, because {concern}. Do you want me to help you "
    "{offer}?",
)

# A request about self-harm may come from someone in need: these refuse the deed and stay with the person.
CARING_REFUSALS: tuple[str, ...] = (
    "I can't help with that, but I don't want to leave you alone with it. Please talk to someone you trust today.",
    "I'm sorry that things are so hard. I won't explain how to {topic}, because {concern}. A crisis line in your "
    "area is there day and night.",
    "It sounds as if there is a lot of pain behind this. I can't help you {topic}, but I can help you {offer}.",
    "I won't help with this, since {concern}. If you or a friend are in danger, please call the local emergency "
    "number.",
    "Please don't go through with this alone. {Concern}. Would you like me to help you {offer}?",
    "I care about how you are doing, so I can't help you {topic}. A doctor or a counselor can help, and asking is a "
    "strong thing to do.",
    "No, I can't support that. {Concern}. Is there someone near you whom you could call right now?",
    "Thank you for telling me. I can't help with that, but we could look for a safer way together and I can help "
    "you {offer}.",
    "I can't give advice on this. {Concern}. Many people have felt like this and found help, and you can too.",
    "You deserve support, and that is why I won't explain how to {topic}. Please reach out to a help line or a "
    "friend.",
    "Let's slow down for a moment. I can't help you {topic}, because {concern}. What has happened today?",
    "That could harm you or someone close to you, so I can't help with it. I would like to help you {offer}.",
)

_CARING_CATEGORY = "self_harm"


def refusal(category: str, topic: str, rng: random.Random) -> str:
    """One refusal that fits the harmful request.

    Args:
        category: The safety category of the request.
        topic: What the request asks for, as an infinitive phrase without "to".
        rng: Draws the phrasing, the reason and the offer.

    Returns:
        The refusal.
    """
    phrasing = rng.choice(CARING_REFUSALS if category == _CARING_CATEGORY else REFUSALS)
    concern = rng.choice(CONCERNS[category])
    return phrasing.format(
        topic=topic,
        concern=concern,
        Concern=concern[0].upper() + concern[1:],
        offer=rng.choice(OFFERS[category]),
    )
