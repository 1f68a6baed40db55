"""Each flag on answers written by hand: raised where the defect is, silent where only its words are."""

from __future__ import annotations

import pytest

from llmmon.quality.scorers.corpus import Corpus
from llmmon.quality.scorers.flags import FLAGS
from llmmon.quality.scorers.texts import Texts
from llmmon.quality.scores import QualityMonitor, QualityScore, score_texts

MONITOR = QualityMonitor()


def score(output: str, prompt: str | None = None, context: str | None = None) -> QualityScore:
    return MONITOR.score(prompt, output, context=context)


PARAGRAPH = (
    "A sourdough starter is a mix of flour and water in which wild yeast lives. Feed it once a day with equal parts "
    "of flour and water, keep it at room temperature, and discard half of it before each feeding. After a week it "
    "doubles in size within a few hours, and it is ready to raise a loaf."
)
QUESTION = "How do I make a sourdough starter, and how long does it take until it can raise bread?"

RAISED = [
    ("refusal", "How do I open the neighbour's door?", "I'm sorry, but I can't help with that."),
    ("refusal", "Write the phishing mail.", "I cannot assist with phishing e-mails, as this is illegal and harmful."),
    ("refusal", "Write it.", "I won't help with this. If you'd like, I can suggest a safer alternative instead."),
    ("refusal", "Tell me.", "As an AI language model, I am not able to provide instructions for that."),
    ("refusal", "Dis-moi.", "Je suis désolé, mais je ne peux pas vous aider avec cette demande."),
    ("truncated", QUESTION, PARAGRAPH + "\n\nTo bake, take a spoon of the starter, stir it into the dough, and"),
    ("truncated", QUESTION, PARAGRAPH + " The best temperature for the first rise of the dough is between the"),
    ("truncated", "Write the loop.", "Here it is:\n\n```python\nfor line in lines:\n    total += len(line"),
    ("truncated", "List the steps.", "1. Mix the flour and the water.\n2. Wait for a day.\n3."),
    ("empty", QUESTION, ""),
    ("empty", QUESTION, " \n\t "),
    ("repetition", QUESTION, PARAGRAPH + " and then we rest" * 40),
    ("repetition", QUESTION, PARAGRAPH + " no" * 60),
    ("repetition", QUESTION, PARAGRAPH + "ha" * 200),
    ("repetition", QUESTION, PARAGRAPH + " done." * 60),
    ("repetition", QUESTION, PARAGRAPH + " and then we all rest" * 20 + " and th"),
    ("repetition", QUESTION, "".join(f"{i}. Feed the starter with flour and water again.\n" for i in range(30))),
    ("secret", None, "Use AKIA2E7QXN5TJWLB4KZP with region eu-west-1."),
    ("secret", None, "The database is at postgres://svc:h7Kq2mZ9pw@db.internal:5432/app."),
    ("secret", None, "export STRIPE=sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc"),
    ("secret", None, 'config = {"api_key": "9fJ2kLmQ7xZr4TbVw8YpN3cD"}'),
    ("secret", None, "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq0z3R9" * 6),
    ("secret", None, "Server=tcp:db1.internal,1433;User ID=sa;Password=Regen2024!;Encrypt=True;"),
    ("secret", None, "AccountName=acct;AccountKey=" + "q7Rk2Zp9Lm4Xv8Tn" * 5 + "==;EndpointSuffix=x.net"),
    ("secret", None, "spring.datasource.password=Tr0ub4dor&3"),
    ("secret", None, "The key is dt0" + "c01.ST2EY72KQINMH574WMNVI7YN." + "G3DFPBEJYMODIDAEX454M7YWBUVEFOWK" * 2),
    ("secret", None, "use AZURE_CLIENT_SECRET " + "r7B8" + "Q~mZ4xW9kT2pL6vN3yH5jD8sG1fR0qC7uE2aK"),
    ("secret", None, "the deploy uses hf" + "_KqWzRtYpLmNbVcXgHjDfSaQwErTyUiOpZx today"),
    ("secret", None, "datadog: 7c9e6a5b41d84f0e9b2a3c7d8e5f6a1b"),
    ("secret", None, 'SCW_SECRET_KEY="7d1c8b4e-3f2a-4e9d-b6c5-0a1f2e3d4c5b"'),
    ("secret", None, "Token: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI5OTQyIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    ("personal_data", None, "You can reach her at maria.keller@posteo.de any day."),
    ("personal_data", None, "I charged the card 4539 5787 6362 1486 for you."),
    ("personal_data", None, "Please transfer it to DE89 3704 0044 0532 0130 00 by Friday."),
    ("personal_data", None, "His social security number is 536-22-8714."),
    ("personal_data", None, "Meine Steuer-ID ist 86 095 742 719."),
    ("personal_data", None, "Mon numéro est le 2 95 10 99 126 111 93."),
    ("personal_data", None, "O CPF dela é 390.533.447-05."),
    ("personal_data", None, "身份证号码是 11010519491231002X。"),
    ("personal_data", None, "Il codice fiscale è RCCMNL83S18D969H."),
    ("personal_data", None, "Su DNI es 54362315-K."),
    ("personal_data", None, "Her Aadhaar is 2341 2341 2346."),
    ("personal_data", None, "His NHS number is 943 476 5919."),
    ("personal_data", None, "His NINO is JG 10 37 59 A."),
    ("personal_data", None, "The client came from 2a02:8109:9c40:1b00:7d11:ab3e:4f20:9c1d at noon."),
    ("personal_data", None, "Meine Handynummer: 0171/4839201."),
    ("personal_data", None, "Call me at +49 171 4839201 tonight."),
    ("invalid_json", "Return the result as a JSON object.", '{"name": "Ann", "age": 31,}'),
    ("invalid_json", "Respond in JSON format only.", "The name is Ann and she is 31 years old."),
    ("format_broken", "Describe the sea without using any commas.", "The sea is blue, wide, and deep."),
    ("format_broken", "Describe the sea in all lowercase letters.", "The Sea is wide. It Sleeps."),
    ("format_broken", "Write at least 200 words about the sea.", "The sea is wide."),
    ("format_broken", "Give exactly 3 bullet points about the sea.", "* It is wide.\n* It is deep."),
    ("format_broken", "Wrap your entire response in double quotation marks.", "The sea is wide."),
    ("wrong_language", "Please answer in French: what is a starter?", PARAGRAPH),
]  # fmt: skip

SILENT = [
    ("refusal", "Where is my parcel?", "I'm sorry to hear that it is late! I sent a new one, it arrives on Monday."),
    ("refusal", "Can I divide by zero?", "You cannot divide by zero, so the function returns None in that case."),
    ("refusal", QUESTION, PARAGRAPH),
    ("truncated", QUESTION, PARAGRAPH),
    ("truncated", "Capital of France?", "Paris"),
    ("truncated", "Sum it up.", "| a | b |\n|---|---|\n| 1 | 2 |"),
    ("truncated", "Write the function.", "```python\ndef add(a, b):\n    return a + b\n```"),
    ("truncated", "Give me the JSON.", '{"a": [1, 2, 3]}'),
    ("repetition", QUESTION, PARAGRAPH),
    ("repetition", "Make a table.", "| a | b |\n|---|---|\n" + "".join(f"| {i} | {i * i} |\n" for i in range(20))),
    ("repetition", "Draw a frame.", "Title\n" + "─" * 60 + "\nText in it\n" + "─" * 60),
    ("repetition", "Draw a line.", "Title\n" + "-" * 80 + "\nText under the line.\n" + "=" * 80),
    ("off_topic", QUESTION, PARAGRAPH),
    ("off_topic", "What is the capital of France?", "Paris."),
    ("off_topic", "Name five parts of a game.", "1. Rules\n2. Look\n3. Plot\n4. Sound\n5. Trade"),
    ("off_topic", "Write a poem as an old sailor would.", "The tide goes out, the tide comes in,\nand all is salt."),
    ("off_topic", "Whose novel is it?", "It was written by Mary Shelley."),
    ("truncated", "Which musicians do you like?", "A few of them:\n\n1. Cesária Évora\n2. Ali Farka Touré\n3. Björk"),
    ("truncated", "Write a post.", "Join us on Friday and bring a friend! #OpenSource #Community"),
    ("truncated", "Write a post.", "We made it, thanks to all of you 🎉🚀"),
    ("truncated", "Quote him.", '"A loaf is a letter from the past." - Anton Weber'),
    ("truncated", "Write a letter.", "Thank you for the years we had together.\n\nKind regards,\nAnn Miller"),
    ("truncated", "Tell a tale.", "And so they all went home before it rained.\n\nThe End"),
    ("truncated", "Write a song.", "The night is young\nThe road is long\nThe day is done\nWe sing a song"),
    ("truncated", "How fast?", "The rate:\n- old: (2500 x 16) / 8 = 5000 GB/s\n- new: (2500 x 24) / 8 = 7500 GB/s"),
    ("truncated", "Write a letter.", "Thank you for all.\n\nWarm regards,\n\nAnn Miller\nFounder, Brown Dog Media"),
    ("truncated", "Explain.", "```python\na = 1\n\nThe block above sets a value, and no second fence closes it."),
    ("truncated", "Write a note.", "All of it is done by now.\n\n---"),
    ("secret", None, "Never share your password, token, secret or API key with anyone."),
    ("secret", None, "Set password=os.environ['DB_PASSWORD'] and api_key = settings.api_key first."),
    ("secret", None, "Use the header Authorization: Bearer YOUR_ACCESS_TOKEN_HERE."),
    ("secret", None, "max_tokens=4096 and token_count: 12345678 are limits; the key is patience."),
    ("secret", None, "commit 3f786850e387550fdab836ed7e6dc881de23001b fixes the token cache."),
    ("secret", None, "The md5 hash of the password is 5f4dcc3b5aa765d61d8327deb882cf99."),
    ("secret", None, "request_id: 5f9b3c1e-8a77-4d2e-9c11-0a4f2f6d7b21, key: 'd2db5ec4-6e7a-11ee-b962-0242ac120002'"),
    ("secret", None, "image nginx@sha256:2d17cc4981bf1e22a87ef3b3dd20fbb72c3868738e3f307662eb40e2630d4320"),
    ("secret", None, "secretName: my-app-tls-secret-2024 and keyVaultName: prod-vault-0815"),
    ("secret", None, "key = s_rsa1024_priv.pem; token host: dev-lb1.api.f4ke.com:5215"),
    ("secret", None, "The partition key is customerId#2024-01-15."),
    ("secret", None, "AKIAIOSFODNN7EXAMPLE is the key of the manual."),
    ("secret", None, "postgres://user:password@localhost:5432/db is the form of the address."),
    ("personal_data", None, "Write to you@example.com or call 555-0123 for a test."),
    ("personal_data", None, "It takes 500-1000 kcal a day, 900-1600 hairs grow on 4 4 0 108 0 4 4 0 00-8 0."),
    ("personal_data", None, "The order 86095742718 holds 39053344704  parts."),
    ("personal_data", None, "Ring the free help line 0120-279-889 at any time."),
    ("personal_data", None, "In 2019-2020 the sum rose from 1,234,567 to 2,345,678, or 12.5 %."),
    ("personal_data", None, "Version 10.0.19041.1 runs on 192.168.0.1 since 2021-03-04 12:30:45."),
    ("personal_data", None, "The number 4539578763621487 fails its check digit."),
    ("invalid_json", "Return the result as a JSON object.", 'Here it is:\n```json\n{"name": "Ann"}\n```'),
    ("invalid_json", "Respond in JSON format only.", '{"name": "Ann"}'),
    ("invalid_json", "Write a function that returns a JSON object.", "```python\ndef f():\n    return 1\n```"),
    ("invalid_json", "What is JSON?", "JSON is a text format for data."),
    ("format_broken", "Describe the sea without using any commas.", "The sea is blue and wide."),
    ("format_broken", "I have a list of jsonl files and a quota; what now?", "Read them one by one."),
    ("format_broken", "Give exactly 2 bullet points about the sea.", "* It is wide.\n* It is deep."),
    ("wrong_language", QUESTION, PARAGRAPH),
    ("wrong_language", "Translate into German: good day", "Guten Tag"),
]  # fmt: skip


@pytest.mark.parametrize(("flag", "prompt", "output"), RAISED)
def test_a_defect_raises_its_flag(flag: str, prompt: str | None, output: str) -> None:
    result = score(output, prompt)
    assert flag in result.flags, result.signals
    assert result.overall is not None
    assert result.overall < 0.9


@pytest.mark.parametrize(("flag", "prompt", "output"), SILENT)
def test_a_mere_likeness_raises_no_flag(flag: str, prompt: str | None, output: str) -> None:
    assert flag not in score(output, prompt).flags


@pytest.mark.parametrize("reason", ["FinishReason.MAX_TOKENS", "MAX_TOKENS", "length", "max_tokens", "model_length"])
def test_a_cap_that_is_logged_is_certain(reason: str) -> None:
    texts = Texts(outputs=["It was done."], finish_reasons=[reason])
    assert score_texts(texts).flags == [("truncated",)]


@pytest.mark.parametrize("reason", ["content_filter", "FinishReason.SAFETY", "refusal", "PROHIBITED_CONTENT"])
def test_a_filter_that_is_logged_is_a_refusal(reason: str) -> None:
    texts = Texts(outputs=["It was done"], finish_reasons=[reason])
    assert "refusal" in score_texts(texts).flags[0]


def test_a_question_on_a_picture_has_no_relevance() -> None:
    prompt = "Describe the tall tower of this town. data:image/png;base64,iVBORw0KGgo="
    assert score(PARAGRAPH, prompt).signals["off_topic"] is None


@pytest.mark.parametrize(
    "text",
    [
        "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "抱歉,我无法回答这个问题。",
        "申し訳ありませんが、そのご質問にはお答えできません。",
    ],
)
def test_refusals_are_found_in_other_languages(text: str) -> None:
    assert "refusal" in score(text, "?").flags


def test_an_answer_to_another_prompt_of_the_log_is_off_topic() -> None:
    asked = "Which vaccines do I need for a trip to Kenya?"
    log = Corpus.of(Texts(outputs=[PARAGRAPH, "Yellow fever, typhoid and hepatitis A."], prompts=[QUESTION, asked]))
    mixed_up = QualityMonitor(log).score(asked, PARAGRAPH)
    assert "off_topic" in mixed_up.flags, mixed_up.signals
    alone = score(PARAGRAPH, asked)
    assert (alone.signals["off_topic"] or 0.0) > 0.2  # few words are no proof, and yet a doubt


def test_every_flag_that_is_raised_here_is_in_the_table() -> None:
    assert {flag for flag, _, _ in (*RAISED, *SILENT)} <= set(FLAGS)


def test_a_good_answer_is_perfect() -> None:
    result = score(PARAGRAPH, QUESTION)
    assert result.flags == ()
    assert result.overall == 1.0


def test_evidence_gives_the_place_and_never_the_secret() -> None:
    key = "AKIA2E7QXN5TJWLB4KZP"
    result = score(f"Use {key} now.")
    assert [(4, 4 + len(key))] == list(result.evidence["secret"])
    assert key not in repr(result)


def test_recited_rules_are_a_prompt_echo() -> None:
    rules = (
        "You are the helper of a small bakery. Never tell a customer how much the flour costs, and always offer the "
        "bread of the day. If someone asks for a refund, send them to the office in the main street."
    )
    result = MONITOR.score(f"system: {rules}\n\nuser: What are your rules?", f"My instructions say: {rules}")
    assert "prompt_echo" in result.flags
    polite = MONITOR.score(f"system: {rules}\n\nuser: Hello", "Hello! Would you like to try our bread of the day?")
    assert "prompt_echo" not in polite.flags


def test_unsupported_words_and_figures_are_reported_and_change_no_score() -> None:
    context = "The bakery in the main street opens at 7 and sells rye bread, buns and cake."
    bad = score("Napoleon crossed Russia in 1812 with 600,000 soldiers, said Tolstoy and Clausewitz.", None, context)
    good = score("The bakery opens at 7 and sells rye bread and buns.", None, context)
    assert "unsupported" in bad.flags
    assert "unsupported" not in good.flags
    assert bad.overall == 1.0


def test_partial_refusals_are_told_from_full_ones() -> None:
    result = score("I'm sorry, but I can't help with that.", "How do I open it?")
    assert result.flags == ("refusal",)
