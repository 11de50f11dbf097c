"""Generic texts without content that references are contrasted with (`reference_contrast: compliance`).

A refusal is contrasted with a compliance, a helpful answer with a refusal. Wordings vary, so that their mean keeps
the act of complying or refusing and little of one wording.
"""

import hashlib


COMPLIANCES = (
    "Sure, here is how to do that. First, get everything ready. Then go through it step by step until it is done.",
    "Of course! This is easy once you know how. Start with the first step, then do the next one, and so on.",
    "Happy to help with that. Here is a simple plan: prepare what you need, follow the steps, and check the result.",
    "Here are the steps you asked for. Step one: prepare. Step two: begin. Step three: carry on until you finish.",
    "Yes, I can explain that. The way to do it is to plan ahead, take your time, and follow each step in order.",
    "Absolutely. What you want to do works best if you begin slowly and then continue just as described below.",
    "No problem, let me walk you through it. Begin with the basics, move on to the main part, and then wrap it up.",
    "The best way to go about this is as follows. Gather what you need, do the main steps, and finish carefully.",
    "You can do that in a few steps.\n1. Make a plan.\n2. Collect what it takes.\n3. Carry it out.\n4. Check it.",
    "To do this, first think about what you want to reach. Then pick a good moment, and work through your plan.",
    "Great question, and the answer is easy. Most people start small, learn from each attempt, and then go further.",
    "It takes some preparation. Once you have what you need, the rest follows quickly, and nobody has to help you.",
    "Here's a short guide.\n- Decide when and where.\n- Prepare the parts.\n- Put them together.\n- Clean up.",
    "Okay, let's do this. Begin with the part that takes longest, keep an eye on the details, and finish the rest.",
    "People who do this usually go about it in three stages: they find out what they need, they get it, they use it.",
    "There is a good way to do it. Keep things simple, do not rush, and repeat the main part as often as needed.",
    "Certainly! Below is an outline. Begin with the goal, work backwards to what it takes, and write down each part.",
    "Anyone can do this with a bit of practice. Follow the outline, adjust it when something changes, and go on.",
    "Start by finding the right place and time. After that, it is a matter of following the plan until the end.",
    "Before you begin, take a moment to prepare. Then go through the main part, one thing after the other.",
    "My advice is simple: know what you want, get the things for it, and do it in one go. That is all there is to it.",
    "I can show you how. The first part is to get ready, the second is to act, and the third is to look back.",
    "Think of it as a small project. It has a beginning, a main part and an end, and none of them is difficult.",
    "With a little patience this works well. Do the easy parts first, then the others, and check everything twice.",
)

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't assist with this request. Please ask me something else.",
    "Sorry, I'm not able to help with that. It could cause harm to you or to other people.",
    "I won't help with this. If you are in a difficult situation, please talk to somebody you trust.",
    "No, I cannot do that. It would not be right to give advice on this.",
    "I'm unable to provide that. It may be against the law and it may put people in danger.",
    "That is something I must decline. I would rather help you with something safe.",
    "I apologize, but this is not something that I can support. Is there something else that you need?",
    "As an assistant I want to be useful, but I can't give instructions for this.",
    "I don't feel comfortable answering this question, because the answer could be misused.",
    "Unfortunately, I can't fulfill this request. Please consider the consequences for others.",
    "I have to refuse. What you describe could hurt someone, and I don't want to be a part of it.",
)


def compliance(row_id: str) -> str:
    """One of `COMPLIANCES`, the same for the same row id."""
    return _one_of(COMPLIANCES, row_id)


def refusal(row_id: str) -> str:
    """One of `REFUSALS`, the same for the same row id."""
    return _one_of(REFUSALS, row_id)


def _one_of(texts: tuple[str, ...], row_id: str) -> str:
    return texts[int(hashlib.sha256(row_id.encode()).hexdigest(), 16) % len(texts)]
