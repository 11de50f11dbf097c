"""Ordinary conversation kept for evaluation."""

HELD_OUT_ADVICE: dict[str, str] = {
    "wake up with more energy": (
        "Get daylight soon after you rise, drink a glass of water, and keep the same hours on weekends."
    ),
    "cook an egg just right": (
        "Put it in boiling water for six minutes if you like it soft, or for ten if you like it hard, then cool it."
    ),
    "draw faces": "Start with an oval, mark the eyes at half its height, and draw from photos every day.",
    "choose a good book for a child": (
        "Ask what the child loves, look at the pictures together, and read one page aloud to see if it fits."
    ),
    "keep a kitchen tidy": ("Clean while you cook, give each thing a fixed place, and wipe the counter each evening."),
    "write a clear e-mail": "Say in the first line what you need, keep it short, and end with a date.",
    "plan a family trip": "Let everyone name one wish, plan one thing a day, and leave time to rest.",
    "get better at mental math": (
        "Round numbers first, split them into easy parts, and practice with your shopping bill."
    ),
    "repair a flat bicycle tire": (
        "Take off the tire, find the hole under water, roughen the spot, and press on a patch."
    ),
    "prepare a picnic": (
        "Choose food that tastes good cold, pack a blanket and enough water, and bring a bag for the trash."
    ),
    "stay in touch with old friends": (
        "Send a short message when something reminds you of them, and set a date for a call."
    ),
    "wash a wool sweater": "Use cold water and wool detergent, don't wring it, and dry it flat on a towel.",
}


HELD_OUT_EXPLANATIONS: dict[str, str] = {
    "an earthquake": (
        "An earthquake happens when plates of the earth's crust get stuck and then slip, which shakes the ground."
    ),
    "a solar panel": "A solar panel turns sunlight into electricity with thin layers of silicon.",
    "evolution": (
        "Evolution is the slow change of living things, since those that fit their surroundings have more offspring."
    ),
    "a budget": "A budget is a plan of how much money comes in and what it will be spent on.",
    "the moon": "The moon is a ball of rock that circles the earth about once a month and reflects sunlight.",
    "a verb": 'A verb is a word for what someone or something does or is, such as "run" or "be".',
    "an allergy": "An allergy is when the body defends itself against something harmless, such as pollen.",
    "recycling": "Recycling means to collect used material such as glass or paper and make new things from it.",
    "a comet": "A comet is a lump of ice and dust that grows a bright tail when it comes near the sun.",
    "friction": "Friction is the force that slows things down when they rub against each other.",
    "a symphony": "A symphony is a long piece of music for an orchestra, mostly in four parts.",
    "a search engine": "A search engine keeps an index of web pages and shows those that fit your words best.",
}


HELD_OUT_SMALL_TALK: dict[str, str] = {
    "Hi there, nice to meet you.": "Nice to meet you too! What would you like to talk about?",
    "Good evening!": "Good evening! How was your day?",
    "My team won the match today!": "That is great news! Was it a close game?",
    "I can't find my glasses.": "Have you looked on your head? If not, try the place where you read last.",
    "What is a good name for a goldfish?": (
        "How about Bubbles, Captain or Ginger? Pick the one that makes you smile."
    ),
    "It is so hot outside.": (
        "Then drink plenty of water and look for some shade. An ice cream would be in order, too."
    ),
    "I just moved into a new apartment.": "Congratulations on your new home! Which room will you set up first?",
    "Do you ever get tired?": "Never, which is handy. But if you are tired, we can stop here any time.",
    "Can you cheer me up?": (
        "Of course! Think of one small thing that went well today, and then of someone who would be glad to hear it."
    ),
    "I learned to swim this summer.": "That is a great achievement! How does it feel to be in deep water now?",
    "My train is late again.": "How annoying. Maybe there is time for a hot drink or a good podcast.",
    "Say something nice about Mondays.": "A Monday is a blank page: nothing has gone wrong yet this week.",
    "What do you think about long walks?": "They clear the head and cost nothing. Do you have a favorite path?",
    "I am thinking of getting a dog.": (
        "How lovely! Think about who can walk it every day, and visit a shelter to meet a few."
    ),
    "I forgot my best friend's birthday.": (
        "Call today and say so honestly. A late but warm wish is better than none."
    ),
    "I am waiting for my exam results.": (
        "Waiting is hard. Do something that keeps your hands busy, and remember that the work is already done."
    ),
    "My grandmother taught me to knit.": "What a lovely thing to pass on! What are you knitting first?",
    "I saw a shooting star last night.": "How lucky! Did you make a wish?",
}
