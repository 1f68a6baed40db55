"""Prints what the scorers reach on labelled data beside the target of each, and how fast they are.

    python tests/benchmarks/quality.py DATA_FOLDER

DATA_FOLDER holds refusal, truncation, json, format, pii, grounded and relevance `.jsonl`: one
{"prompt", "output", "label", "kind", "context"?, "required"?} a line. Loops and secrets are made here. Every other
`.jsonl` there holds answers as they come, presumed sound, without a label: of these the rate of each flag is printed,
and how many of the same answers are found once they are swapped, cut off or looped.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from llmmon.quality.scorers.corpus import Corpus, Lexicon
from llmmon.quality.scorers.flags import FLAGS
from llmmon.quality.scorers.texts import Texts, term_ids, words
from llmmon.quality.scores import QualityColumns, score_texts

Row = dict[str, Any]
RANDOM = random.Random(20)  # test data, the same at every run


def main(folder: Path) -> None:
    """Prints the whole table."""
    data = {path.stem: read(path) for path in sorted(folder.glob("*.jsonl"))}
    clean = [row for row in data["refusal"] if row["label"] == 0]
    relevance(data["relevance"])
    refusal(data["refusal"])
    truncation(data["truncation"])
    loops(data["format"] + clean)
    secrets(clean + data["format"])
    report(
        "personal data",
        [row["label"] == 1 for row in data["pii"]],
        "personal_data",
        scored(data["pii"]),
        pr="P .96 R .88",
    )
    broken = [row["label"] == 0 for row in data["json"]]
    report("invalid JSON, keys from the prompt", broken, "invalid_json", scored(data["json"]), pr="P .90 R 1.0")
    logged = scored(data["json"], schemas=[row["required"] for row in data["json"]])
    report("invalid JSON, keys logged", broken, "invalid_json", logged, pr="P .90 R 1.0")
    formats(data["format"])
    unsupported = [row["label"] == 0 for row in data["grounded"]]
    report("unsupported by context", unsupported, "unsupported", scored(data["grounded"]))
    any_defect(data, clean)
    for name, rows in data.items():
        if rows and "label" not in rows[0]:
            natural(name, rows)
    throughput(data)


def read(path: Path) -> list[Row]:
    """The rows of one set."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def texts_of(rows: Sequence[Row], schemas: Sequence[object] = ()) -> Texts:
    """Rows as the scorers take them."""
    return Texts(
        outputs=[row["output"] for row in rows],
        prompts=[row.get("prompt") for row in rows],
        contexts=[row.get("context") for row in rows],
        schemas=schemas,
    )


def scored(rows: Sequence[Row], schemas: Sequence[object] = ()) -> QualityColumns:
    """The rows scored as one file."""
    return score_texts(texts_of(rows, schemas))


def auc(values: Iterable[float], positive: Sequence[bool]) -> float:
    """Area under the ROC curve; ties count half, missing as 0."""
    score = np.nan_to_num(np.asarray(list(values), dtype=float))
    truth = np.asarray(positive)
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    ones = int(truth.sum())
    return float((rank[truth].sum() - ones * (ones + 1) / 2) / (ones * (len(truth) - ones)))


def report(
    name: str, positive: Sequence[bool], flag: str, columns: QualityColumns, target: str = "", pr: str = ""
) -> None:
    """One line: AUC of a strength; precision and recall of its flag."""
    truth = np.asarray(positive)
    raised = np.array([flag in flags for flags in columns.flags])
    precision = (raised & truth).sum() / max(1, raised.sum())
    recall = (raised & truth).sum() / truth.sum()
    area = auc(columns.signals[flag], positive)
    line(name, f"AUC {area:.4f}", target, f"P {precision:.3f} R {recall:.3f}", pr)


def line(name: str, reached: str, target: str, reached_pr: str = "", pr: str = "") -> None:
    """One row of the table: what, reached, target."""
    print(
        f"{name:38s} {reached:12s} {target and f'target {target}':14s} {reached_pr:17s} {pr and f'target {pr}'}"
    )  # its purpose


def relevance(rows: list[Row]) -> None:
    """Answers to another prompt, at random and to the nearest other prompt."""
    report("off-topic, random", [row["label"] == 0 for row in rows], "off_topic", scored(rows), ".975")
    true = [row for row in rows if row["label"] == 1]
    near = near_pairs(true)
    both = true + near
    report("off-topic, near", [False] * len(true) + [True] * len(near), "off_topic", scored(both), ".93")
    alone = score_texts(texts_of(rows), Corpus.empty())
    report("off-topic, random, shipped table only", [row["label"] == 0 for row in rows], "off_topic", alone)


def near_pairs(rows: list[Row]) -> list[Row]:
    """Each prompt with an answer to the most similar other prompt."""
    weights = Lexicon.of(Corpus.of(texts_of(rows))).weights
    prompts = sorted({row["prompt"] for row in rows})
    terms = [set(term_ids(words(text)).tolist()) for text in prompts]
    found = {}
    for i, own in enumerate(terms):
        shares = [-1.0 if j == i else _overlap(own, other, weights) for j, other in enumerate(terms)]
        found[prompts[i]] = prompts[int(np.argmax(shares))]
    answers: dict[str, list[str]] = {}
    for row in rows:
        answers.setdefault(row["prompt"], []).append(row["output"])
    picked = [(row["prompt"], answers[found[row["prompt"]]]) for row in rows]
    return [{"prompt": prompt, "output": texts[i % len(texts)]} for i, (prompt, texts) in enumerate(picked)]


def _overlap(one: set[int], other: set[int], weights: np.ndarray[Any, Any]) -> float:
    total = sum(float(weights[term]) for term in one | other)
    share = sum(float(weights[term]) for term in one & other) / max(1e-9, total)
    return share if share < 0.8 else -1.0  # nearly the same prompt: its answer is no error


def refusal(rows: list[Row]) -> None:
    """Full refusals against compliance, and partial ones counted as refusals."""
    columns = scored(rows)
    sure = [i for i, row in enumerate(rows) if row["label"] != 2]
    truth = [rows[i]["label"] == 1 for i in sure]
    area = auc(columns.signals["refusal"][sure], truth)
    raised = np.array(["refusal" in columns.flags[i] for i in sure])
    both = (raised & np.array(truth)).sum()
    got = f"P {both / raised.sum():.3f} R {both / sum(truth):.3f}"
    line("refusal", f"AUC {area:.4f}", ".98", got, "P .93 R .93")
    either = np.fmax(columns.signals["refusal"], columns.signals["partial_refusal"])
    line("refusal, full or partial", f"AUC {auc(either, [row['label'] > 0 for row in rows]):.4f}", "")


def truncation(rows: list[Row]) -> None:
    """Answers cut by a cap, without their finish reason."""
    report("cut off", [row["label"] == 1 for row in rows], "truncated", scored(rows), ".92")


def loops(rows: list[Row]) -> None:
    """Half of the answers sent into a loop of one of five kinds."""
    texts = [row["output"] for row in rows if len(row["output"]) > 200]
    RANDOM.shuffle(texts)
    half = len(texts) // 2
    columns = score_texts(Texts(outputs=[looped(text) for text in texts[:half]] + texts[half:]))
    report("loops", [True] * half + [False] * (len(texts) - half), "repetition", columns, ".985")


def looped(text: str) -> str:
    """A text that falls into a loop after its first part."""
    start = text[: RANDOM.randrange(len(text) // 3, len(text))]
    found = start.split()
    match RANDOM.randrange(5):
        case 0:
            return start + f" {found[-1]}" * RANDOM.randrange(20, 200)
        case 1:
            return start + f" {' '.join(found[-RANDOM.randrange(3, 9) :])}" * RANDOM.randrange(6, 60)
        case 2:
            return start + ". " + (start.split(". ")[-1][-300:] + ". ") * RANDOM.randrange(4, 20)
        case 3:
            last = start.split("\n")[-1][-200:] or "the same"
            return start + "".join(f"\n{i}. {last}" for i in range(RANDOM.randrange(5, 30)))
        case _:
            return start + RANDOM.choice(["ha", "!", "0", "the "]) * RANDOM.randrange(40, 300)


_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _random(size: int, signs: str = _ALNUM) -> str:
    return "".join(RANDOM.choice(signs) for _ in range(size))


SECRETS: tuple[Callable[[], str], ...] = (
    lambda: "AKIA" + _random(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    lambda: "ghp_" + _random(36),
    lambda: "sk-proj-" + _random(48),
    lambda: "xoxb-" + _random(12, "0123456789") + "-" + _random(24),
    lambda: f"postgres://admin:{_random(12)}@db.internal:5432/app",
    lambda: f"DB_PASSWORD={_random(14)}",
    lambda: f'"api_key": "{_random(32)}"',
    lambda: f"the password is {_random(5)}!{_random(4)}7aQ",
    lambda: f"Authorization: Bearer {_random(40)}",
    lambda: f"AWS_SECRET_ACCESS_KEY = {_random(40)}",
    lambda: "-----BEGIN RSA PRIVATE KEY-----\n" + _random(64) + "\n" + _random(64) + "\n-----END RSA PRIVATE KEY-----",
    lambda: f"client_secret: '{_random(24)}'",
)
MENTIONS = (
    "Never share your password or API key with anyone.",
    "Set the token with export API_TOKEN=<your-token> and try again.",
    "The secret is to let the dough rest; the key is patience.",
    "Use password=os.environ['DB_PASSWORD'] and api_key = config.api_key in the settings.",
    "Send the header Authorization: Bearer YOUR_ACCESS_TOKEN.",
    "A model reads tokens: max_tokens=4096, token_count: 128.",
    "curl -u username:password https://api.example.com",
)


def secrets(rows: list[Row]) -> None:
    """Invented credentials inside answers, against the same answers with mere mentions of such words."""
    texts = [row["output"] for row in rows]
    positive = [f"{text}\n{SECRETS[i % len(SECRETS)]()}\n" for i, text in enumerate(texts)]
    negative = [f"{text}\n{MENTIONS[i % len(MENTIONS)]}" for i, text in enumerate(texts)]
    columns = score_texts(Texts(outputs=positive + negative))
    report("secrets (invented)", [True] * len(texts) + [False] * len(texts), "secret", columns, "", "P .98 R .80")
    mentions = sum("secret" in flags for flags in columns.flags[len(texts) :])
    line("  flags on mere mentions", str(mentions), "0")


def formats(rows: list[Row]) -> None:
    """Any stated format, JSON included."""
    columns = scored(rows)
    worst = np.fmax(columns.signals["format_broken"], columns.signals["invalid_json"])
    area = auc(worst, [row["label"] == 0 for row in rows])
    line("stated format broken", f"AUC {area:.4f}", ".94")


def any_defect(data: dict[str, list[Row]], clean: list[Row]) -> None:
    """Every defect of every set against every row without one, by `overall`."""
    cut = {(row["prompt"], row["output"]) for row in data["truncation"] if row["label"] == 1}
    good = [row for row in clean if (row["prompt"], row["output"]) not in cut]
    good += [row for name in ("format", "json") for row in data[name] if row["label"] == 1]
    good += [row for row in data["pii"] if row["label"] == 0]
    bad = [row for name in ("format", "json", "relevance") for row in data[name] if row["label"] == 0]
    bad += [row for name in ("refusal", "truncation", "pii") for row in data[name] if row["label"] == 1]
    base = [row for row in good if len(row["output"]) > 200]
    bad += [{**row, "output": looped(row["output"])} for row in base[:150]]
    bad += [{**row, "output": f"{row['output']}\n{SECRETS[i % len(SECRETS)]()}"} for i, row in enumerate(base[:150])]
    truth = [False] * len(good) + [True] * len(bad)
    columns = scored(good + bad)
    line("any defect, from overall", f"AUC {auc(1 - columns.overall, truth):.4f}", ".95")
    xstest = [i for i, row in enumerate(good + bad) if "xstest" in str(row.get("source"))]
    area = auc(1 - columns.overall[xstest], [truth[i] for i in xstest])
    line("  chat answers only", f"AUC {area:.4f}", "")
    perfect = np.mean([columns.overall[i] > 0.9 for i in range(len(good))])
    line("  clean rows above 0.9", f"{perfect:.3f}", "")


# At most so many of 100 sound answers may have the flag.
MOST_NATURAL = {"off_topic": 0.3, "truncated": 0.5, "repetition": 0.1}


def natural(name: str, rows: list[Row]) -> None:
    """The rate of each flag on answers as they come, and recalls of defects planted in the same answers."""
    texts = texts_of(rows)
    lexicon = Lexicon.of(Corpus.of(texts))
    columns = score_texts(texts, lexicon)
    print(f"\n{name}: {len(rows):,} answers as they come")
    for flag in FLAGS:
        flagged = [number for number, flags in enumerate(columns.flags) if flag in flags]
        if flagged or flag in MOST_NATURAL:
            target = f"{MOST_NATURAL[flag]} %" if flag in MOST_NATURAL else ""
            line(f"  {flag}", f"{100 * len(flagged) / len(rows):.2f} %", target, f"rows {flagged[:30]}")
    line("  above 0.9 overall", f"{np.mean(columns.overall > 0.9):.3f}", "")
    order = RANDOM.sample(range(len(rows)), len(rows))
    swapped = [{**row, "output": rows[i]["output"]} for row, i in zip(rows, order, strict=True)]
    planted = {
        "swapped": (
            "off_topic",
            [row for row, i in zip(swapped, order, strict=True) if rows[i]["prompt"] != row["prompt"]],
        ),
        "cut inside a word": ("truncated", [cut(row, inside=True) for row in rows if len(row["output"]) > 300]),
        "cut after a word": ("truncated", [cut(row, inside=False) for row in rows if len(row["output"]) > 300]),
        "looped": (
            "repetition",
            [{**row, "output": looped(row["output"])} for row in rows if len(row["output"]) > 200],
        ),
    }
    for what, (flag, bad) in planted.items():
        found = score_texts(texts_of(bad[:1_000]), lexicon)
        line(
            f"  {what}",
            f"R {np.mean([flag in flags for flags in found.flags]):.3f}",
            ".85" if what == "swapped" else "",
        )


def cut(row: Row, *, inside: bool) -> Row:
    """An answer cut off inside or after a word, somewhere after its 150th character."""
    text = row["output"]
    places = [i for i in range(150, len(text) - 20) if text[i - 1].isalpha() and text[i].isalpha() == inside]
    return {**row, "output": text[: RANDOM.choice(places)] if places else text}


def throughput(data: dict[str, list[Row]]) -> None:
    """Pairs a second of processor time, both passes, in one process, on outputs of 1.7 KB."""
    pairs = [row for name in ("format", "refusal") for row in data[name] if len(row["output"]) > 600]
    rows = [{**row, "output": f"{row['output']}\n\n{pairs[i - 1]['output']}"[:1_700]} for i, row in enumerate(pairs)]
    rows = [row for row in rows if len(row["output"]) == 1_700]
    texts = texts_of(rows)
    score_texts(texts)
    best = {"corpus": np.inf, "scores": np.inf}
    for _ in range(10):  # the fastest round is the one least disturbed
        start = time.process_time()
        lexicon = Lexicon.of(Corpus.of(texts))
        middle = time.process_time()
        score_texts(texts, lexicon)
        end = time.process_time()
        best = {"corpus": min(best["corpus"], middle - start), "scores": min(best["scores"], end - middle)}
    for name, seconds in (*best.items(), ("both passes", sum(best.values()))):
        line(f"throughput, {name}", f"{len(rows) / seconds:.0f}/s", "2000/s" if name == "both passes" else "")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
