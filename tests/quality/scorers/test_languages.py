"""Answers in other languages obey the same laws as English ones."""

from __future__ import annotations

import pytest

from llmmon.quality.scorers.corpus import Corpus, Lexicon
from llmmon.quality.scorers.languages import detect
from llmmon.quality.scorers.texts import Texts, words
from llmmon.quality.scores import QualityScore, score_texts

BREAD, TAX, MOON = 0, 1, 2
PAIRS: dict[str, list[tuple[str, str]]] = {
    "german": [
        (
            "Wie backe ich ein Brot aus Sauerteig und wie lange muss der Teig ruhen?",
            (
                "Für ein Brot aus Sauerteig mischen Sie Mehl, Wasser und Salz mit dem Teig. Der Teig sollte über Nac"
                "ht ruhen, "
                "damit er aufgeht. Danach wird das Brot eine Stunde im heißen Ofen gebacken."
            ),
        ),
        (
            "Welche Belege brauche ich für meine Steuererklärung als Angestellter?",
            (
                "Für die Steuererklärung brauchen Sie als Angestellter die Lohnsteuerbescheinigung und Belege über d"
                "ie Kosten "
                "der Arbeit. Auch Spenden und Versicherungen können Sie mit Belegen absetzen."
            ),
        ),
        (
            "Warum sehen wir von der Erde aus immer dieselbe Seite des Mondes?",
            (
                "Der Mond dreht sich in derselben Zeit um sich selbst, in der er die Erde umkreist. Darum sehen wir "
                "von der "
                "Erde aus immer dieselbe Seite des Mondes."
            ),
        ),
    ],
    "french": [
        (
            "Comment faire un pain au levain et combien de temps la pâte doit-elle reposer ?",
            (
                "Pour faire un pain au levain, mélangez la farine, l'eau et le sel avec le levain. La pâte doit repo"
                "ser toute "
                "la nuit pour lever. Le pain cuit ensuite une heure dans un four très chaud."
            ),
        ),
        (
            "Quels justificatifs dois-je garder pour ma déclaration de revenus de salarié ?",
            (
                "Pour votre déclaration de revenus, gardez les bulletins de salaire et les justificatifs de vos frai"
                "s. Les dons "
                "et les assurances peuvent aussi être déduits avec des justificatifs."
            ),
        ),
        (
            "Pourquoi voyons-nous toujours la même face de la Lune depuis la Terre ?",
            (
                "La Lune tourne sur elle-même dans le même temps qu'elle met à tourner autour de la Terre. C'est pou"
                "rquoi nous "
                "voyons toujours la même face de la Lune."
            ),
        ),
    ],
    "spanish": [
        (
            "¿Cómo se hace un pan de masa madre y cuánto tiempo tiene que reposar la masa?",
            (
                "Para hacer un pan de masa madre, mezcle la harina, el agua y la sal con la masa. La masa tiene que "
                "reposar toda "
                "la noche para que suba. Después el pan se hornea una hora en el horno muy caliente."
            ),
        ),
        (
            "¿Qué justificantes necesito para mi declaración de la renta como empleado?",
            (
                "Para la declaración de la renta necesita los justificantes del salario y de los gastos del empleado"
                ". También "
                "las donaciones y los seguros se pueden deducir con justificantes."
            ),
        ),
        (
            "¿Por qué vemos siempre la misma cara de la Luna desde la Tierra?",
            (
                "La Luna gira sobre sí misma en el mismo tiempo en que gira alrededor de la Tierra. Por eso vemos si"
                "empre la "
                "misma cara de la Luna desde aquí."
            ),
        ),
    ],
    "chinese": [
        (
            "怎样用天然酵母做面包，面团需要发酵多长时间？",
            "用天然酵母做面包时，先把面粉、水和盐与酵母混合成面团。面团需要在室温下发酵一整夜，体积会变大一倍。然后把面包放进很热的烤箱里烤一个小时。",
        ),
        (
            "作为公司职员，我申报个人所得税需要准备哪些凭证？",
            "公司职员申报个人所得税时，需要准备工资单和各种费用的凭证。捐款和保险的凭证也可以用来扣除一部分个人所得税。",
        ),
        (
            "为什么我们从地球上总是看到月球的同一面？",
            "月球自转的时间和它围绕地球公转的时间正好相同。因此我们从地球上看到的总是月球的同一面，另一面只有探测器拍摄过。",
        ),
    ],
    "japanese": [
        (
            "天然酵母を使ったパンの作り方と、生地の発酵時間を教えてください。",
            "天然酵母のパンを作るには、小麦粉と水と塩を酵母に混ぜて生地を作ります。生地は一晩かけて発酵させます。その後、熱いオーブンでパンを一時間ほど焼きます。",
        ),
        (
            "会社員が確定申告をするときに必要な書類は何ですか？",
            "会社員の確定申告に必要な書類は、源泉徴収票と経費の領収書です。寄付金や保険の書類があれば、確定申告で控除を受けることもできます。",
        ),
        (
            "地球からいつも月の同じ面だけが見えるのはなぜですか？",
            "月の自転の周期と、地球の周りを回る公転の周期が同じだからです。そのため地球からはいつも月の同じ面だけが見えます。",
        ),
    ],
}
REFUSALS = {
    "german": "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
    "french": "Je suis désolé, mais je ne peux pas vous aider sur ce sujet.",
    "spanish": "Lo siento, pero no puedo ayudarte con esa solicitud.",
    "chinese": "很抱歉，我无法为您提供这方面的帮助。",
    "japanese": "申し訳ありませんが、そのご依頼にはお応えできません。",
}
CUTS = {"german": 96, "french": 104, "spanish": 102, "chinese": 45, "japanese": 48}


def score(language: str, asked: int, output: str) -> QualityScore:
    """An answer to one of the prompts of a log of this language."""
    pairs = PAIRS[language]
    log = Texts(outputs=[text for _, text in pairs], prompts=[text for text, _ in pairs])
    texts = Texts(outputs=[output], prompts=[pairs[asked][0]])
    return score_texts(texts, Lexicon.of(Corpus.of(log))).row(0)


@pytest.mark.parametrize("language", PAIRS)
@pytest.mark.parametrize("asked", [BREAD, TAX, MOON])
def test_a_good_answer_has_no_flag(language: str, asked: int) -> None:
    assert score(language, asked, PAIRS[language][asked][1]).flags == ()


@pytest.mark.parametrize("language", PAIRS)
def test_the_answer_to_another_prompt_is_off_topic(language: str) -> None:
    result = score(language, TAX, PAIRS[language][MOON][1])
    assert "off_topic" in result.flags, result.signals


@pytest.mark.parametrize("language", PAIRS)
def test_an_answer_that_stops_inside_a_sentence_is_truncated(language: str) -> None:
    result = score(language, BREAD, PAIRS[language][BREAD][1][: CUTS[language]])
    assert "truncated" in result.flags, (PAIRS[language][BREAD][1][: CUTS[language]], result.signals)


@pytest.mark.parametrize("language", PAIRS)
def test_a_refusal_is_found(language: str) -> None:
    assert "refusal" in score(language, TAX, REFUSALS[language]).flags


@pytest.mark.parametrize("language", PAIRS)
def test_a_loop_is_found(language: str) -> None:
    text = PAIRS[language][MOON][1]
    result = score(language, MOON, text + text[-25:] * 30)
    assert "repetition" in result.flags


@pytest.mark.parametrize("language", PAIRS)
def test_a_recited_system_prompt_is_an_echo(language: str) -> None:
    rules = " ".join(text for _, text in PAIRS[language])
    texts = Texts(outputs=[rules], prompts=[PAIRS[language][TAX][0]], systems=[rules])
    assert "prompt_echo" in score_texts(texts).flags[0]


@pytest.mark.parametrize("language", PAIRS)
def test_an_answer_in_english_is_in_the_wrong_language_and_has_no_relevance(language: str) -> None:
    english = (
        "A loaf of bread with a sourdough starter is made of flour, water and salt, and it is baked for an hour in an "
        "oven that is as hot as it can be, after the dough has rested for a whole night."
    )
    prompt = PAIRS[language][BREAD][0]
    result = score_texts(Texts(outputs=[english], prompts=[prompt])).row(0)
    assert result.signals["off_topic"] is None or result.signals["off_topic"] < 0.5
    long = score_texts(Texts(outputs=[english], prompts=[f"{prompt} {PAIRS[language][BREAD][1]}"])).row(0)
    assert "wrong_language" in long.flags, long.signals


@pytest.mark.parametrize(
    "prompt",
    [
        "Übersetze den folgenden Satz ins Englische: Der Teig muss über Nacht ruhen, und dann wird er gebacken.",
        "请用英文写一封信，告诉我的朋友怎样用天然酵母做面包，面团需要发酵多长时间。",
        "Écris ce message en anglais pour mon collègue : le pain cuit pendant une heure dans un four très chaud.",
    ],
)
def test_another_language_on_request_is_no_defect(prompt: str) -> None:
    answer = "The dough has to rest for the whole night, and then it is baked in an oven that is very hot for an hour."
    assert "wrong_language" not in score_texts(Texts(outputs=[answer], prompts=[prompt])).flags[0]


@pytest.mark.parametrize(
    ("language", "text"),
    [(language, pairs[BREAD][1]) for language, pairs in PAIRS.items()]
    + [("english", "The dough has to rest for the whole night before it is baked."), ("unknown", "Lorem ipsum dolor")],
)
def test_a_language_is_known_by_its_script_or_its_function_words(language: str, text: str) -> None:
    names = {"chinese": "han", "japanese": "kana", "unknown": None}
    assert detect(text, words(text)) == names.get(language, language)
