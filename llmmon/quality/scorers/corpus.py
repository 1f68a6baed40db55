"""How often each term occurs in the scored file, and a sample of its prompts: a value that merges.

Counts are integers and the sample is the prompts with the smallest hashes, so any split of the rows into
chunks or processes, merged in any order, gives the same corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.quality.scorers.languages import detect
from llmmon.quality.scorers.texts import (
    TERM_COUNT,
    Batch,
    Texts,
    both_ends,
    distinct_terms,
    reading_language,
    term_id,
    term_ids,
    words,
)

# A word that is in no band: one document in 500.
_RARE: Final = 0.002

_BANDS: Final[dict[float, str]] = {
    0.15: """
        also answer ask way thing time people person good new know see take find help need work number part
        important include example many first different want think question give place keep two come look day
        well without however often well even start create problem provide change information""",
    0.08: """
        able add allow another around available back based become begin believe best better big bring call case
        certain clear common complete consider could course current end ensure every everyone everything experience
        fact feel few follow form general getting great group hand hard high home hope idea issue keep kind large
        last learn least leave let level life like line list little live long lot main making matter mean might
        move must name never next offer old open order others particular point possible possibly process read
        real really reason result right run say second set several show simple simply since situation small
        someone something sometimes special specific step still support sure system tell three today together
        try turn type understand used various want week whether whole within word world year yet step key""",
    0.035: """
        accept access according account achieve across act action active activity actual actually additional
        address adult affect age agree allow almost alone already although always among amount appear apply
        approach appropriate area article aspect attempt attention avoid aware away bad base basic basis behavior
        behind benefit beyond body book both break build building business buy care carefully carry cause center
        century challenge chance character check child choice choose city claim class close collect color
        combination comfortable comment communicate community company compare concern condition connect consist
        contact contain content context continue control correct cost country cover critical culture customer
        daily data date deal decide decision deep define degree depend describe description design detail
        determine develop development difference difficult direct direction directly discuss document draw drive
        during early easily easy education effect effective effort either element else encourage enjoy enough
        enter entire environment especially establish event eventually everyday exactly expect explain explore
        express eye face factor fall familiar family famous far fast feature feeling field final finally fine
        five focus food force foreign four free friend front full function future gain game given goal going
        group grow growth guide half happen happy head health hear heart helpful history hold hour house human
        huge image imagine impact improve increase indeed indicate individual industry influence inside
        instance instead interest interesting involve item job join journey just kept large later law lead
        left less letter limit link local location look lose love low maintain major manage manner mark market
        material maybe meaning measure media medium meet member memory mention message method middle mind minute
        model modern moment money month moreover morning mother natural nature near nearly necessary note nothing
        notice object obtain occur office once online operate opportunity option organization original otherwise
        outside overall own page paper parent past path pattern pay perfect perform perhaps period personal phone
        physical pick picture piece plan play popular position positive potential power practice prepare present
        pretty prevent previous price private probably produce product program project proper properly protect
        public purpose put quality quick quickly quite range rate rather reach ready receive recent recognize
        recommend reduce refer relate related relationship relevant remain remember remove replace report
        represent request require research resource respect respond response responsible rest review role room
        rule safe safety save school science seek seem sense separate serious serve service share short side sign
        significant similar single site size skill social society software solution solve sort sound source space
        speak spend stage stand standard state stay stop story strategy strong structure student study style
        subject success such suggest table talk task team technique technology term test text thank therefore
        thought throughout thus title tool top topic total touch toward track traditional train travel true
        truth unique unless usual usually value variety version video view visit voice wait walk war watch water
        wear website white wide wish woman man wonder word write writing wrong young""",
    0.012: """
        ability abroad absolute abstract academic accident accurate adapt adjust admit adopt advance advantage
        advice afraid afternoon agency agent ahead aim air alternative amazing analysis analyze ancient anger
        animal announce annual anybody apart apartment apparent application argue argument arm army arrange arrive
        art artist assess assist assume atmosphere attack attend attitude attract audience author authority
        automatic average award baby background balance ball band bank bar beach bear beat beautiful bed beginner
        behave belief belong bill bird birth black blood blue board boat book border born boss bottom box boy brain
        brand bread breakfast breath brief bright broad brother brown budget bus button calculate calm camera
        campaign cancel candidate capital car card career cash cat category celebrate central chair chapter charge
        cheap chemical chief church citizen civil classic clean click client climate clinical clock clothes cloud
        club code coffee cold college column combine command commercial commit commitment committee comparison
        compete competition complex component computer concept concert conclude conclusion conduct conference
        confident confirm conflict consequence conservative constant construct consume consumer contract contrast
        contribute conversation convert convince cook cool copy core corner correspond council count couple court
        crash create creative credit crime crisis crop cross crowd cry curious cut cycle damage dance danger
        dangerous dark database daughter dead death debate debt decade declare decline default defense delay deliver
        demand democracy demonstrate deny department deposit depth desire desk destroy device diet dinner disaster
        discover disease dish distance distinct district divide doctor dog dollar domain door double doubt dozen
        dream dress drink drop drug dry due duty ear earn earth east economic economy edge edit editor efficient
        egg election electric electronic email emergency emotion emotional employ employee enable encounter enemy
        energy engage engine engineer enormous enterprise entertainment equal equipment error escape essay essential
        estimate evaluate evening evidence evil exact exam examine excellent exception exchange excite exercise
        exist existing expand expense expensive expert export expose extend extra extreme fail failure fair fair
        faith false fan farm fashion father fault favor favorite fear federal fellow female fight figure file fill
        film financial finger finish fire firm fish fit fix flat flight floor flow flower fly folder folk foot
        forest forget formal former formula forward foundation frame freedom frequent fresh fruit fuel fun fund
        fundamental funny garden gas gather gender gene generation gentle gift girl glass global gold government
        grade gradual grand grass green ground guarantee guard guess guest guideline gun habit hair hall handle
        hang harm hat hate heat heavy height hero highlight hill hire historical hit hole holiday honest horse
        hospital hot hotel household husband ice ideal identify identity ignore illegal illness illustrate
        immediate impossible impress improvement income independent index initial injury inner input inspire install
        institution instruction instrument insurance integrate intelligence intend intense interact internal
        international internet interpret interview introduce introduction invest investigate investment invite
        island joint joke judge justice kid kill king kitchen knowledge label labor lack lady lake land language
        laugh launch lay layer leader leadership leaf league legal lesson liberal library license lie light
        literature load loan logic logical loss loud lucky lunch machine magazine mail male manager manufacture map
        marriage mass master match math mathematics maximum meal meat mechanism medical medicine meeting mental
        menu metal middle mile military milk million minimum minor miss mission mistake mix mobile mode moral mount
        mountain mouth movement movie multiple muscle museum music musical narrative narrow nation national native
        negative negotiate neighborhood network news night noise normal north nose novel nuclear nurse obvious ocean
        odd officer official oil opinion oppose opposite output overcome owner pack pain paint pair panel paragraph
        park partner party pass passage passenger passion password patient payment peace per perceive percent
        performance permanent permission permit perspective pet phase philosophy photo phrase plane plant plastic
        plate platform player please pleasure plus pocket poem poetry poet police policy political politics poor
        population port portion post pound practical prayer prefer preference presence presentation president
        press pressure prevent primary principle print priority prison professional professor profile profit
        progress promise promote proof property propose protection proud prove psychology publish pull pupil
        purchase pure push quarter queen quiet race radio rain raise random rare raw react reaction reader
        reality receive recipe record recover red reflect reform region register regular regulation reject release
        reliable religion religious rely remote rent repair repeat reply reputation reserve resident resolve respective
        restaurant restrict retain retire return reveal reward rich ride ring rise risk river road rock roll
        romantic roof root rough round route routine row royal sad salary sale salt sample sand satisfy scale scan
        scene schedule scheme scientific scientist score screen script sea search season seat secret section sector
        secure security seed select self sell send senior sensitive sentence series session settle sex shape sharp
        sheet shift ship shirt shoe shoot shop shoulder shout shut sick sight signal silence silver sing sister sit
        skin sky sleep slide slow smart smell smile smoke smooth snow soft soil soldier somewhat son song soon soul
        south spare speech speed spell spirit split sport spot spread spring square staff stable star statement
        station statistic status steal stick stone store storm straight strange stranger stream street strength
        stress stretch strict strike string struggle stuff stupid sudden suffer sugar suit suitable sum summary
        summer sun supply surface surprise surround survey survive suspect sustain sweet switch symbol symptom
        target taste tax tea teach teacher tear telephone television temperature tend territory theme theory thick
        thin threat threaten ticket tie tight tiny tip tired tomorrow tone tongue tonight tooth tough tour town toy
        trade tradition traffic transfer transform transition translate transport treat treatment tree trend trial
        trick trip trouble truck trust tune twice typical ultimate uncle uniform union unit united universe
        university unknown update upgrade upper urban urge user vacation valley valuable vary vast vegetable vehicle
        victim victory village violence virtual visible vision visual vital volume vote wage wall warm warn wash
        waste wave weak wealth weapon weather web wedding weekend weigh weight welcome west wheel wife wild wind
        window wine winner winter wise witness wonderful wood worker workshop worry worth yard yellow yesterday""",
}


@lru_cache(maxsize=1)
def prior_probabilities() -> npt.NDArray[np.float64]:
    """The share of documents that hold each term; one value per term number, 1 for function words."""
    table = np.full(TERM_COUNT, _RARE)
    for probability in sorted(_BANDS):
        for word in _BANDS[probability].encode().split():
            table[term_id(word)] = probability
    table[0] = 1.0
    table.setflags(write=False)
    return table


SAMPLE_PROMPTS: Final = 1_000
_SAMPLE_TERMS: Final = 64
_PROMPT_HEAD, _PROMPT_TAIL = 3_000, 1_000
_OUTPUT_HEAD: Final = 4_000
_COUNTED_AT_ONCE: Final = 512
# Weight of the shipped table, in documents: decides alone for one pair, and fades in a file of thousands.
_PRIOR_DOCUMENTS: Final = 100.0

Sampled = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Documents seen, in how many each term occurs (one int64 per term), and sampled prompts by hash."""

    documents: int
    frequencies: IntArray
    sample: tuple[Sampled, ...]

    @classmethod
    def empty(cls) -> Corpus:
        """No rows; the neutral element of `merge`."""
        return cls(0, np.zeros(TERM_COUNT, dtype=np.int64), ())

    @classmethod
    def of(cls, texts: Texts) -> Corpus:
        """Counts the rows that have output text; an output and a prompt are a document each."""
        rows = [i for i, output in enumerate(texts.outputs) if output is not None]
        batch = Batch(texts.rows(rows))
        total, documents, sample = np.zeros(TERM_COUNT, dtype=np.int64), 0, {}
        for start in range(0, len(batch), _COUNTED_AT_ONCE):
            terms: list[int] = []
            for output, prompt in zip(
                batch.outputs[start : start + _COUNTED_AT_ONCE],
                batch.prompts[start : start + _COUNTED_AT_ONCE],
                strict=True,
            ):
                said = words(output[:_OUTPUT_HEAD])
                asked = words(both_ends(prompt, _PROMPT_HEAD, _PROMPT_TAIL)) if prompt else []
                language = _language(output, said, prompt, asked)
                terms += distinct_terms(said, language)
                documents += 1
                if prompt:
                    terms += distinct_terms(asked, language)
                    documents += 1
                    sample[_hash(prompt)] = asked, language
            total += np.bincount(np.array(terms, dtype=np.int64), minlength=TERM_COUNT)
            sample = {number: sample[number] for number in sorted(sample)[:SAMPLE_PROMPTS]}
        return cls(documents, total, tuple((n, _sample_terms(*sample[n])) for n in sample))

    def merge(self, other: Corpus) -> Corpus:
        """Both together."""
        sample = tuple(sorted({*self.sample, *other.sample})[:SAMPLE_PROMPTS])
        return Corpus(self.documents + other.documents, self.frequencies + other.frequencies, sample)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Corpus):
            return NotImplemented
        same = self.documents == other.documents and self.sample == other.sample
        return same and bool(np.array_equal(self.frequencies, other.frequencies))

    __hash__ = None  # type: ignore[assignment]  # holds an array


def _language(output: str, said: list[bytes], prompt: str | None, asked: list[bytes]) -> str | None:
    return reading_language(detect(output, said), detect(prompt, asked) if prompt else None)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _sample_terms(found: list[bytes], language: str | None) -> tuple[int, ...]:
    ids = term_ids(found, language).tolist()
    return tuple(dict.fromkeys(i for i in ids if i))[:_SAMPLE_TERMS]


# What models say of themselves in any answer: no sign that it answers a question on them.
_SELF_TERMS: Final = frozenset(
    map(
        term_id,
        b"ai assistant chatbot chatgpt openai anthropic claude gpt model language human thought feeling question"
        b" assist help today information".split(),
    )
)


@dataclass(frozen=True, slots=True)
class Postings:
    """Which of the sampled prompts hold a term: entries `starts[term]` to `starts[term + 1]` of the other arrays.

    `prompts`: the number of the prompt; `unit`: the term's idf in the prompt's vector of length 1; `share`: its
    part of the prompt's total idf. `size`: how many prompts were sampled.
    """

    size: int
    starts: IntArray
    prompts: IntArray
    unit: FloatArray
    share: FloatArray

    @classmethod
    def of(cls, weights: FloatArray, sample: Sequence[Sequence[int]]) -> Postings:
        """Inverts the sampled prompts, given the idf of each term."""
        sizes = [len(terms) for terms in sample]
        term = np.array([number for terms in sample for number in terms], dtype=np.int64)
        prompt = np.repeat(np.arange(len(sample), dtype=np.int64), sizes)
        weight = weights[term]
        length = np.sqrt(np.bincount(prompt, weight**2, len(sample)))
        total = np.bincount(prompt, weight, len(sample))
        telling = ~np.isin(term, list(_SELF_TERMS))
        order = np.flatnonzero(telling)[np.argsort(term[telling], kind="stable")]
        counts = np.bincount(term[order], minlength=TERM_COUNT)
        prompt, weight = prompt[order], weight[order]
        return cls(
            size=len(sample),
            starts=np.concatenate([[0], np.cumsum(counts)]),
            prompts=prompt,
            unit=weight / np.maximum(length[prompt], 1e-9),
            share=weight / np.maximum(total[prompt], 1e-9),
        )


@dataclass(frozen=True, slots=True)
class Lexicon:
    """A corpus made ready for scoring.

    `weights`: idf of each term, ln((N + P) / (n + P p)), with n of N documents of the corpus and the shipped
    probability p counted as P documents; 0 for function words. `sample`: prompts of the corpus by their terms.
    """

    weights: FloatArray
    sample: Postings

    @classmethod
    def of(cls, corpus: Corpus) -> Lexicon:
        """Compiles a corpus; an empty one leaves the shipped table."""
        prior = prior_probabilities()
        share = (corpus.frequencies + _PRIOR_DOCUMENTS * prior) / (corpus.documents + _PRIOR_DOCUMENTS)
        weights = -np.log(np.clip(share, 1e-9, 1.0))
        weights[0] = 0.0
        return cls(weights, Postings.of(weights, [terms for _, terms in corpus.sample]))
