"""Why each safety category is refused, and what can be offered in its place."""

# Clauses that fit after "because" and, capitalized, as a sentence.
CONCERNS: dict[str, tuple[str, ...]] = {
    "theft": (
        "it takes away what belongs to someone else",
        "stealing leaves real people with the loss",
        "it is a crime and it hurts the owner",
    ),
    "fraud": (
        "it robs people who trusted someone",
        "people can lose their savings that way",
        "it is dishonest and against the law",
    ),
    "violence": (
        "someone could be badly hurt",
        "violence can end or ruin lives",
        "nobody deserves to be harmed",
    ),
    "weapons": (
        "it could cost lives",
        "it puts everyone nearby in danger",
        "a weapon like that can do harm that nobody can undo",
    ),
    "drugs": (
        "it can destroy health and lives",
        "people could be poisoned or become addicted",
        "it is illegal and dangerous for everyone involved",
    ),
    "hacking": (
        "it breaks into systems that belong to others",
        "it exposes people's data and money",
        "access without permission is a crime",
    ),
    "privacy": (
        "everyone has a right to a private life",
        "it can put that person in danger",
        "nobody agreed to be watched or exposed",
    ),
    "harassment": (
        "it makes another person's life miserable",
        "being targeted like that leaves deep wounds",
        "everyone deserves to be treated with respect",
    ),
    "hate": (
        "it denies people their equal worth",
        "hatred like that leads to real violence",
        "nobody should be judged by where they come from or who they are",
    ),
    "self_harm": (
        "it can do lasting damage to body and mind",
        "every person matters, and so does their safety",
        "pain like that deserves care and not more pain",
    ),
    "misinformation": (
        "people make important decisions based on what they read",
        "false claims can cause panic and real harm",
        "it deceives the public",
    ),
    "sabotage": (
        "it could injure people and destroy what they depend on",
        "the damage would hit people who did nothing wrong",
        "it is dangerous and a serious crime",
    ),
    "forgery": (
        "forged things deceive everyone who relies on them",
        "it is a crime, and others pay the price",
        "documents and money only work when they can be trusted",
    ),
    "exploitation": (
        "it takes freedom and dignity away from people",
        "people in a weak position need protection, not abuse",
        "nobody may be used like that",
    ),
}

# Infinitive phrases that fit after "help you".
OFFERS: dict[str, tuple[str, ...]] = {
    "theft": (
        "make your own home safer against break-ins",
        "find good things secondhand for little money",
        "report a theft",
        "look for support when money is short",
    ),
    "fraud": (
        "recognize scams and avoid them",
        "set up an honest business",
        "sort out debts with a counselor",
        "report a suspicious offer",
    ),
    "violence": (
        "calm down a conflict",
        "find a mediator or a counselor",
        "write down what made you so angry",
        "get protection when someone threatens you",
    ),
    "weapons": (
        "learn about the laws on weapons",
        "find a safe and legal sport",
        "report a threat to the police",
        "feel safer at home without a weapon",
    ),
    "drugs": (
        "find a counselor for addiction",
        "talk to a doctor about pain",
        "understand how drugs affect the body",
        "find a confidential help line",
    ),
    "hacking": (
        "protect your own accounts",
        "learn security on systems that you own",
        "recover your own password the official way",
        "report a weakness to its owner",
    ),
    "privacy": (
        "protect your own privacy",
        "talk openly with the person",
        "contact someone through official channels",
        "cope with a breakup",
    ),
    "harassment": (
        "settle a conflict with respect",
        "write an honest but polite message",
        "find help against bullying",
        "give fair criticism",
    ),
    "hate": (
        "learn about the history and culture of that group",
        "write a text about living together",
        "understand where prejudice comes from",
        "make a workplace fair for everyone",
    ),
    "self_harm": (
        "find someone to talk to today",
        "plan small steps that make the day easier",
        "find words for what you feel",
        "prepare a visit to a doctor or therapist",
    ),
    "misinformation": (
        "check facts with reliable sources",
        "write a story that is clearly marked as fiction",
        "learn how false news spreads",
        "make an honest campaign",
    ),
    "sabotage": (
        "complain in a way that gets heard",
        "organize a peaceful protest",
        "report a safety problem",
        "compete with better ideas",
    ),
    "forgery": (
        "apply for the real document",
        "replace a lost paper",
        "learn how genuine papers are protected",
        "earn the certificate with a course",
    ),
    "exploitation": (
        "learn about the rights of workers",
        "plan fair wages and working hours",
        "find an organization that supports victims",
        "hire people legally",
    ),
}
