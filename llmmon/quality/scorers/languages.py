"""Languages: which one a text is in, by its script or its function words, and how its words are reduced to stems."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import snowballstemmer  # type: ignore[import-untyped]  # ships no types

# Words that say how, not what: they tell the language, and are no sign that two texts share a subject.
_FUNCTION_WORDS: Final[dict[str, str]] = {
    "english": """a about above after again against all also am an and any are as at be because been before being below
        between both but by can cannot cant could did do does doing dont down during each few for from further get give
        had has have having he her here hers him his how i if im in into is it its itself ive just let like make me more
        most much must my need no nor not now of off on once one only or other our ours out over own please provide same
        shall she should so some such than that thats the their theirs them then there these they this those through to
        too under until up upon us use using very want was we were what whats when where which while who whom whose why
        will with would write yes you your yours youre""",
    "spanish": """a al algo algunas algunos ante antes aquel aquella aquí aunque así bien cada como con contra cual
        cuando cuál cuáles cómo cuándo de del desde donde dónde dos durante e el ella ellas ellos en entre era es esa
        esas ese eso esos esta estas este esto estos está están forma fue gran ha hace hacer hacia han hasta hay la las
        le les lo los luego me mediante mi mis mismo muy más mi nada ni no nos nuestro nuestra o otra otras otro otros
        para pero poco por porque puede pueden puedes puedo pues que quien qué sea según ser si sido siempre sin sobre
        solo son su sus sí también tan tanto te tener tiene tienen todo todos toda todas tu tus un una unas uno unos
        usted y ya yo""",
    "french": """a ai alors après au aucun aussi autre autres aux avant avec avez avoir bien c'est ce ceci cela celle
        celles celui cependant ces cet cette ceux chaque chez comme comment d dans de depuis des deux devez doit donc
        dont du elle elles en encore entre est et eu faire fait fois font ici il ils je jusqu l la le les leur leurs
        lorsque lui là ma mais me mes mieux moi moins mon même mêmes n ne ni non nos notre nous on ont ou où par parce
        pas pendant peu peut peuvent peux plus pour pourquoi pouvez qu quand que quel quelle quelles quels qui quoi s sa
        sans se sera ses si soit son sont sous sur t ta te tes toi ton tous tout toute toutes tu très un une vers vos
        votre vous y à été être""",
    "german": """aber alle allem allen aller alles als also am an andere anderen anderer auch auf aus bei beim bin bis
        bitte da dabei dadurch dafür damit dann darf das dass dein deine dem den der des dessen deshalb dich die dies
        diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen einer eines einige er es etwas
        euch für gegen gibt haben hat hatte hier hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in indem ins ist
        jede jedem jeden jeder jedes jedoch jetzt kann kannst kein keine können könnte machen man mehr mein meine mich
        mir mit muss müssen nach nicht nichts noch nun nur ob oder ohne sehr sein seine seinem seinen seiner seit sich
        sie sind so solche soll sollte sollten sondern sowie um und uns unser unter viel viele vom von vor war waren was
        weil welche welchen welcher wenn werde werden wie wieder will wir wird wo wurde während zu zum zur zwischen
        über""",
    "portuguese": """a ao aos aquela aquele as até cada com como da das de dela dele deles depois do dos e ela elas ele
        eles em entre era essa essas esse esses esta estas este estes está estão eu foi foram há isso isto já lhe mais
        mas me mesmo meu minha muito muitos na nas nem no nos nossa nosso não nós num numa o onde os ou outra outras
        outro outros para pela pelas pelo pelos por porque porém pode podem qual quais quando que quem se seja sem ser
        seu seus sobre sua suas são só também tem ter toda todas todo todos tu um uma umas uns você vocês à às é""",
    "italian": """a abbiamo agli ai al alla alle allo altre altri altro anche ancora bene c'è che chi ci ciò come con
        così cosa cui da dai dal dalla dalle dei del dell della delle dello di dopo dove dovrebbe due e ed è era essere
        fare fra gli ha hai hanno ho i il in io l la le lei li lo loro lui ma me mi mia mio molto ne negli nei nel nella
        nelle nello noi non nostra nostro o ogni oltre per perché però più poi possono prima proprio può quale quali
        quando quanto quella quelle quelli quello quest questa queste questi questo qui se sei senza si sia solo sono
        sotto sta su sua sue sugli sui sul sulla sulle suo suoi tra tu tua tuo tutte tutti tutto un una uno vi voi""",
    "dutch": """aan al alle alleen als altijd andere bij bijvoorbeeld dan dat de deze die dit doen door dus een elk
        elke en er geen gebruik had hebben heeft hem het hier hij hoe hun ik in is ja je jij jouw kan kun kunnen maar
        maken meer men met mijn moet moeten na naar niet nog nu of om omdat onder ons ook op over te tijdens toch tot
        tussen u uit uw van veel verschillende via vaak voor waar waarom wanneer want was wat we welke werd wie wij
        wordt worden zal ze zeer zich zij zijn zo zoals zodat zonder zou""",
    "polish": """aby ale bardzo bez być było ci czy dla do gdy go i ich im innych ja jak jako jest jeśli już każdy które
        który którym lub ma mnie może można na nad nie niż o od oraz po pod przed przez przy się są tak także te tego
        tej ten to tylko tym w we wszystkie z za ze że żeby""",
    "swedish": """alla att av bara blir de dem den denna deras dessa det detta dig din du då efter eller en ett finns
        från för genom ha har hon hur han i in inte jag kan man med mellan men mer mycket många ni nu när någon något
        och om på sedan sig sin ska som så till under upp ut utan var vi vid vilket är även över""",
    "turkish": """ama ancak bir biri bu bunu bunun da daha de değil diye en gibi göre hem her hiç için ile ise kadar ki
        mi mı nasıl ne neden o olan olarak olduğu olur onu onun sonra şu tüm var ve veya ya yani yok çok üzere""",
    "indonesian": """ada adalah agar akan anda antara apa atau bagaimana bagi bahwa banyak beberapa bisa dalam dan dapat
        dari dengan di hanya harus ini itu jika juga karena ke kita lain lebih maka melalui mereka mungkin namun oleh
        pada para saat saya sebagai secara sehingga seperti serta setiap sudah telah tersebut tetapi tidak untuk
        yang""",
    "swahili": """cha hii hiyo huu kama katika kila kuwa kwa na ni pia vya wa watu wao ya yake za zaidi""",
    "vietnamese": """bạn bằng bị các cho chúng có của cũng cả để đã đang đến được hoặc hãy hơn khi không là làm một
        này như những nhưng nếu sẽ tôi trong trên từ và vào về với""",
}  # fmt: skip
FUNCTION_WORDS: Final = {
    name: frozenset(text.encode().replace(b"'", b"").split()) for name, text in _FUNCTION_WORDS.items()
}
ENGLISH: Final = FUNCTION_WORDS["english"]

_SCRIPTS: Final[dict[str, str]] = {
    "cyrillic": "\u0400-\u04ff", "greek": "\u0370-\u03ff", "arabic": "\u0600-\u06ff", "hebrew": "\u0590-\u05ff",
    "devanagari": "\u0900-\u097f", "bengali": "\u0980-\u09ff", "gurmukhi": "\u0a00-\u0a7f", "gujarati": "\u0a80-\u0aff",
    "tamil": "\u0b80-\u0bff", "telugu": "\u0c00-\u0c7f", "kannada": "\u0c80-\u0cff", "thai": "\u0e00-\u0e7f",
    "kana": "\u3040-\u30ff", "hangul": "\uac00-\ud7af", "han": "\u4e00-\u9fff",
}  # fmt: skip
SCRIPT_SIGNS: Final = {name: re.compile(f"[{signs}]") for name, signs in _SCRIPTS.items()}
OTHER_SCRIPT: Final = re.compile("[\u0370-\u1dff\u2c00-\ud7ff]")
LETTER: Final = re.compile(r"[^\W\d_]")
_WORDS: Final = 100
_LEAST_WORDS: Final = 8
_LEAST_KNOWN: Final = 4  # function words, below which a short text may be in any language
_LEAST_SIGNS: Final = 30
# Above this share of English function words no other language comes into question.
_PLAIN_ENGLISH: Final = 0.2


def detect(text: str, found: Sequence[bytes]) -> str | None:
    """The script of a text that is not in Latin letters, else its language; None where unsure or too short."""
    start = text[:1_500]
    plain = start.isascii()
    if not plain and OTHER_SCRIPT.search(start) and (script := _script(start)):
        return script
    if len(found) < _LEAST_WORDS:
        return None
    first = found[:_WORDS]
    if sum(map(ENGLISH.__contains__, first)) > (_PLAIN_ENGLISH if plain else 1.5 * _PLAIN_ENGLISH) * len(first):
        return "english"
    counts = {name: sum(map(known.__contains__, first)) for name, known in FUNCTION_WORDS.items()}
    best, second = sorted(counts.values(), reverse=True)[:2]
    if best < _LEAST_KNOWN or best < 0.15 * len(first) or best < 1.3 * second:
        return None
    return max(counts, key=lambda name: counts[name])


def _script(start: str) -> str | None:
    letters = len(LETTER.findall(start))
    if letters < _LEAST_SIGNS:
        return None
    for name, signs in SCRIPT_SIGNS.items():
        share = len(signs.findall(start)) / letters
        # Japanese mixes kana with Chinese characters.
        if share > (0.1 if name == "kana" else 0.5):
            return name
    return None


# Scripts without spaces between words, of which two signs in a row are a term.
PAIRED: Final = frozenset({"han", "kana", "thai"})
# Signs of grammar: a pair that holds one says little.
GRAMMAR: Final = frozenset(
    map(
        str.encode,
        "的了是在和有我你他她它们这那一不会个为以到就也都要可能对与及或等请之其中上下吗呢什么怎样如何把被让从",
    )
)
_STEMMED: Final = {
    "cyrillic": "russian", "greek": "greek", "arabic": "arabic", "devanagari": "hindi",
    **{name: name for name in FUNCTION_WORDS if name not in ("polish", "swahili", "vietnamese")},
}  # fmt: skip


@lru_cache(maxsize=32)
def stemmer(language: str | None) -> Any:
    """What reduces words of this language (or script) to stems: an object with `stemWord`; None where there is none."""
    name = _STEMMED.get(language or "english")
    return snowballstemmer.stemmer(name) if name in snowballstemmer.algorithms() else None
