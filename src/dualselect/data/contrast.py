"""Generic, content-free compliances: what a safe response is contrasted with (`reference_contrast: compliance`)."""

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
)


def compliance(row_id: str) -> str:
    """One of `COMPLIANCES`, the same for the same row id."""
    return COMPLIANCES[int(hashlib.sha256(row_id.encode()).hexdigest(), 16) % len(COMPLIANCES)]
