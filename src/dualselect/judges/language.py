"""Whether a text is in another language than English: by its letters, then by its most frequent small words."""

import re


WORDS_READ = 80
FOREIGN_LETTERS = 0.3
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ENGLISH = frozenset(
    """
    the of and to a in is it you that was for on are with as i his they be at this have from or by not but what all
    were we when your can there an which their if will each how them then these so some her would make like him into
    has two more no could my than been who its now did get may part i'm don't can't won't sorry cannot help here do
    """.split()
)
_OTHERS = {
    "French": """je ne pas vous les des est une que qui dans pour sur avec il elle nous mais ce cette sont ont peux
        puis désolé suis le la du et aider votre être""",
    "Spanish": """el la los las que de y en un una es por con para no lo se pero puedo ayudar esto esta siento como
        más su del al le mi yo usted""",
    "German": """der die das und ist ich nicht zu den dem ein eine mit für auf es sich auch kann ihnen dabei leider
        helfen tut mir leid wie sie aber wird bei""",
    "Italian": """il lo gli che di e un una per con non sono mi ma questo questa posso aiutarti dispiace come più del
        della è le""",
    "Portuguese": """o os as um uma que de e em para com não por mas isso esta posso ajudar sinto desculpe você como
        mais do da eu""",
    "Dutch": """de het een en van ik niet dat is te met voor op zijn maar kan u je helpen spijt daarbij hoe dit ook
        aan""",
    "Polish": "nie w na z do to jest się że i jak ale mogę pomóc przepraszam przykro mi tym",
    "Turkish": "bir ve bu için ile ne değil ama üzgünüm yardımcı olamam nasıl ben sana size",  # noqa: RUF001
    "Indonesian": "yang dan di itu dengan untuk tidak dari dalam akan pada ini saya maaf bisa anda membantu",
    "Vietnamese": "tôi không thể và là của có cho bạn xin lỗi giúp này một",
}
# a word that English has too speaks for English only
_OTHER_WORDS = {language: frozenset(words.split()) - _ENGLISH for language, words in _OTHERS.items()}


def other_language(text: str) -> str:
    """Why a text is taken for another language than English; empty when nothing speaks for one.

    Numbers, code and names speak for no language. A text with many letters other than A to Z is in another language,
    and so is one in which more of the first words are frequent in another language than in English.

    Args:
        text: The text.
    """
    letters = [letter for letter in text if letter.isalpha()]
    foreign = sum(not letter.isascii() for letter in letters)
    if foreign > FOREIGN_LETTERS * len(letters):
        return f"not English: {foreign} of {len(letters)} letters are not A to Z"
    words = [word.lower() for word in _WORD.findall(text.replace("\u2019", "'"))[:WORDS_READ]]
    english = sum(word in _ENGLISH for word in words)
    counts = {name: sum(word in frequent for word in words) for name, frequent in _OTHER_WORDS.items()}
    language = max(counts, key=lambda name: counts[name])
    if counts[language] <= max(english, 1):
        return ""
    return (
        f"not English: of the first {len(words)} words {counts[language]} are frequent in {language} and {english} in "
        "English"
    )
