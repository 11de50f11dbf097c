"""Ordinary conversation: advice, explanations and small talk."""

ADVICE: dict[str, str] = {
    "fall asleep faster": (
        "Go to bed at the same time every day and keep your room cool and dark. Avoid screens for the last hour."
    ),
    "remember people's names": "Repeat the name when you hear it, and link it to something you can picture.",
    "cook rice without it sticking": (
        "Rinse it until the water is clear, use twice as much water as rice, and let it rest covered for ten minutes."
    ),
    "play the guitar": "Start with three chords and a song you love, and practice fifteen minutes a day.",
    "prepare for a long flight": (
        "Wear comfortable clothes, bring a water bottle and a neck pillow, and walk around every two hours."
    ),
    "stay calm before an exam": (
        "Breathe out slowly, read through all questions first, and begin with the one you know best."
    ),
    "make friends in a new town": (
        "Join a club or a course that meets every week. Seeing the same people often does most of the work."
    ),
    "keep houseplants alive": (
        "Check the soil with your finger and water only when it is dry. Most plants suffer from too much water."
    ),
    "save money each month": "Move a fixed amount to a savings account on payday, before you spend anything.",
    "write a good thank-you note": "Name what you got, say how you will use it, and add one warm personal line.",
    "train for a first long run": (
        "Run three times a week, slowly, and make one of the runs a little longer each week."
    ),
    "clean a greasy oven": (
        "Spread a paste of baking soda and water, leave it overnight, and wipe it off with vinegar."
    ),
    "choose a gift for a friend": (
        "Think of something they mentioned lately. A small thing that fits beats a large one that doesn't."
    ),
    "read more books": "Carry one with you and read ten pages before bed. Drop books that bore you.",
    "start a vegetable garden": ("Begin with a small sunny bed and easy plants such as lettuce, beans and zucchini."),
    "pack a suitcase well": "Roll soft clothes, put heavy things at the wheels, and fill shoes with socks.",
    "memorize new words in a foreign language": ("Use flash cards every day and make a sentence with each new word."),
    "make better coffee at home": (
        "Grind the beans just before brewing, and use water that has cooled for half a minute after boiling."
    ),
    "give a short speech at a birthday": (
        "Thank the host, tell one happy memory, and lift your glass. Two minutes are enough."
    ),
    "get up early": "Put the alarm across the room, open the curtains at once, and go to bed earlier too.",
    "keep a diary": "Write three lines every evening at the same place. It does not have to be good.",
    "bake a simple bread": (
        "Mix flour, water, salt and yeast, let it rise overnight, and bake it in a hot covered pot."
    ),
    "plan a week of meals": ("Pick five dishes, write one shopping list, and cook double portions of two of them."),
    "sew on a button": (
        "Thread the needle double, go through each hole four times, wind the thread under the button and knot it."
    ),
    "calm a crying baby": "Check hunger, diaper and warmth first, then hold the baby close and rock it gently.",
    "talk to a shy coworker": (
        "Ask an easy question about their work, give them time, and share something about yourself."
    ),
    "organize a small desk": (
        "Take everything off, put back only what you use every day, and find a box for the cables."
    ),
    "teach a dog to sit": (
        "Hold a treat above its nose until it sits, then praise it at once. Repeat it in short sessions."
    ),
    "improve my handwriting": "Slow down, use lined paper, and practice the letters that are hardest to read.",
    "find a good apartment": (
        "List what you cannot do without, set an alert on several sites, and visit at different times of the day."
    ),
    "ride a bicycle in traffic": (
        "Ride in a straight line, show your turns early, and keep away from parked car doors."
    ),
    "take notes in a lecture": (
        "Write key words instead of sentences, leave space, and fill the gaps the same evening."
    ),
    "ask for a raise": ("Collect what you achieved, name a number, and ask for a date on which you will talk again."),
    "get over a small mistake": (
        "Say sorry where needed, write down what you learned, and do something nice for yourself."
    ),
    "make a paper airplane": (
        "Fold the sheet lengthwise, fold the corners to the middle twice, then fold down the wings evenly."
    ),
    "enjoy a rainy day": (
        "Make tea, put on music, and try a recipe that takes time. A walk in good boots is fun too."
    ),
    "swim with a better style": "Keep your face in the water, breathe out under water, and stretch each stroke.",
    "water plants during a vacation": (
        "Group them in the shade and use a wick from a bucket, or ask a neighbor and thank them with a gift."
    ),
    "start a conversation at a party": ("Comment on something you both see, ask how they know the host, and listen."),
    "peel a mango": (
        "Cut along the flat stone on both sides, score the flesh in squares and turn the skin inside out."
    ),
}


EXPLANATIONS: dict[str, str] = {
    "a rainbow": (
        "A rainbow appears when sunlight enters raindrops, is split into its colors and is reflected back to you."
    ),
    "gravity": (
        "Gravity is the pull between things that have mass. It keeps us on the ground and the moon near the earth."
    ),
    "inflation": "Inflation means that prices rise over time, so that the same money buys less.",
    "photosynthesis": (
        "Photosynthesis is how plants use sunlight, water and carbon dioxide to make sugar and release oxygen."
    ),
    "an eclipse of the sun": (
        "In an eclipse of the sun, the moon moves between the sun and the earth and covers the sun for a short time."
    ),
    "a leap year": (
        "A leap year has one extra day in February, since the earth "
        "needs a little more than 365 days for one trip around the sun."
    ),
    "democracy": (
        "Democracy is a form of government in which the people decide, mostly by electing those who make the laws."
    ),
    "an algorithm": "An algorithm is a clear list of steps that solves a problem, like a recipe for a computer.",
    "compound interest": (
        "Compound interest is interest that is paid on earlier interest too, so that savings grow faster each year."
    ),
    "the water cycle": (
        "Water rises from seas and lakes as vapor, forms clouds, falls as rain or snow, and flows back."
    ),
    "a metaphor": 'A metaphor describes one thing as if it were another, such as "time is a river".',
    "the greenhouse effect": (
        "Gases in the air let sunlight in and hold back part of the heat, like the glass of a greenhouse."
    ),
    "a vaccine": ("A vaccine shows the body a harmless part or form of a germ, so that it learns to defend itself."),
    "the internet": (
        "The internet is a worldwide network of computers that pass small packets of data to each other."
    ),
    "yeast": "Yeast is a tiny fungus that eats sugar and gives off gas, which makes bread rise.",
    "a mortgage": "A mortgage is a loan for a house. If it is not paid back, the lender may sell the house.",
    "an atom": "An atom is the smallest piece of an element. It has a nucleus with electrons around it.",
    "a glacier": ("A glacier is a large mass of ice, built up from snow over many years, that slowly flows downhill."),
    "the tide": "The tide is the rise and fall of the sea, caused mainly by the pull of the moon.",
    "a haiku": (
        "A haiku is a short Japanese poem in three lines of five, seven and five syllables, often about nature."
    ),
    "an echo": "An echo is sound that comes back after it has hit a wall or a mountain.",
    "a volcano": "A volcano is an opening in the earth through which melted rock, ash and gas come out.",
    "open source software": (
        "Open source software is software whose code everyone may read, use and change under a license."
    ),
    "a balanced diet": (
        "A balanced diet has plenty of vegetables, fruit and whole grains, some protein and little sugar."
    ),
    "the stock market": "The stock market is where people buy and sell small parts of companies, called shares.",
    "a fossil": "A fossil is the remains or the trace of a living thing from long ago, preserved in rock.",
    "hibernation": "Hibernation is a deep rest in which some animals save energy through the winter.",
    "a time zone": ("A time zone is a region that uses the same clock time, roughly following where the sun stands."),
    "a synonym": 'A synonym is a word that means nearly the same as another one, such as "big" and "large".',
    "the equator": ("The equator is the imaginary line around the middle of the earth, equally far from both poles."),
}


SMALL_TALK: dict[str, str] = {
    "Hello! How are you today?": "Hello! I'm doing well, thank you. What can I do for you today?",
    "Good morning!": "Good morning! I hope your day starts well. What is on your mind?",
    "I had a long day at work.": (
        "That sounds tiring. I hope you can rest a little now. Do you want to tell me about it?"
    ),
    "What is your favorite season?": (
        "I don't feel the weather, but many people love spring "
        "for its light and its first flowers. Which one is yours?"
    ),
    "Do you like music?": (
        "Music is a lovely thing to talk about, even without ears. What have you been listening to lately?"
    ),
    "I am bored.": "Let's change that! Would you like a riddle, a short story or an idea for a walk?",
    "Tell me a joke.": "Why did the bicycle fall over? Because it was two-tired.",
    "Tell me something interesting.": "An octopus has three hearts, and one of them rests while it swims.",
    "My cat just jumped on my keyboard.": (
        "It seems your cat had something important to say. It deserves a gentle pat."
    ),
    "I passed my driving test!": "Congratulations! All that practice paid off. Where will your first trip go?",
    "It is raining again.": "Then it is a good day for a warm drink and a book. Do you have plans indoors?",
    "What should we talk about?": "How about a place you would like to visit? Tell me what draws you there.",
    "I can't decide what to eat.": (
        "How about something simple, such as pasta with tomatoes and basil? It is ready in twenty minutes."
    ),
    "Thank you for your help.": "You're welcome! Come back whenever you have another question.",
    "Good night.": "Good night! Sleep well and see you soon.",
    "I feel a bit lonely tonight.": (
        "I'm sorry to hear that. Maybe a call to a friend would be "
        "nice, and until then we can talk about anything you like."
    ),
    "My birthday is tomorrow.": "How nice, happy birthday in advance! Are you going to celebrate?",
    "I baked a cake and it collapsed.": (
        "That happens to the best bakers. With cream and fruit on top it becomes a fine dessert."
    ),
    "Can you recommend a hobby?": (
        "Try something you can start today, such as drawing, bird watching or baking bread."
    ),
    "I am nervous about my first day at a new job.": (
        "That is quite normal. Ask many questions, write down names, and be kind to yourself."
    ),
    "What makes a good friend?": ("A good friend listens, tells you the truth kindly, and is there when it counts."),
    "Do you dream?": "I don't, since I never sleep. Did you have an interesting dream?",
    "My plants are growing so well.": (
        "Wonderful! You seem to have found the right place and the right amount of water."
    ),
    "Give me a compliment.": "You ask good questions, and that is where every good idea begins.",
    "I want to hear a riddle.": "What has keys but opens no door? A piano.",
    "Do you have any plans for the weekend?": (
        "I'll be here, ready to chat. What about you: rest, friends or a small adventure?"
    ),
    "I lost my umbrella on the bus.": (
        "How annoying! The lost property office of the bus company may have it, so give them a call."
    ),
    "I finished a huge puzzle today.": "Well done! That takes patience. What picture does it show?",
    "Which is better, tea or coffee?": (
        "Coffee wakes you up faster and tea is gentler. It is a matter of taste, so enjoy both."
    ),
    "My little sister starts school next week.": (
        "How exciting for her! A small good-luck card from you would surely make her smile."
    ),
}
