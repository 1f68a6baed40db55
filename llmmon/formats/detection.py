"""How a file is read, decided once from samples of it: its layout, the dialects in it, the mapping of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from llmmon.formats import DIALECTS, REPLIES
from llmmon.formats.aliases import bindings_at, unit_named
from llmmon.formats.canonical import CallRule, Evidence, evidence_of
from llmmon.formats.dialect import Dialect, Feed, Object, bindings_of
from llmmon.formats.dialects.native import OWN_KEYS
from llmmon.formats.envelopes import Claimed, objects_in
from llmmon.formats.home_made import (
    GENERIC,
    TAG_PLACES,
    bindings_in,
    has_moments,
    holder_of,
    like_times,
    reply_in,
    reply_keys,
    resolve,
    tag_bindings,
)
from llmmon.formats.home_made_rows import usual_units
from llmmon.formats.json_text import BLANK, UnreadableError
from llmmon.formats.layouts import LINES, Layout, elements_of, layout_of
from llmmon.formats.mapping import (
    CALL_KEY,
    CALL_KEYS,
    COMPLETENESS,
    EVIDENCE,
    JOIN_KEY,
    RESULTS,
    Binding,
    FieldMapping,
    Keys,
    Mark,
    Path,
    Picker,
    Slot,
    passes,
    shape_of,
    sources_of,
    steps_of,
    value_at,
)
from llmmon.formats.units import Units
from llmmon.metrics.record import TAG_PREFIX

_COMPLETENESS: Final = sources_of(frozenset(COMPLETENESS))


class ReadPlan(msgspec.Struct, frozen=True):
    """How a file is read, decided once from samples of it; small and picklable.

    `mappings` has one entry for each data dialect seen; the first `typed` of them are tried on every line.
    `fields` are the record's fields that the command needs; `label` is what home-made rows are counted as;
    `extra` are the bindings of `--map` and of the tags that were asked for; `rule` says which home-made rows
    are calls.
    """

    mappings: tuple[FieldMapping, ...]
    fields: frozenset[str]
    typed: int = 1
    label: str = GENERIC
    forced: str | None = None
    naive: str = "UTC"
    splittable: bool = True  # False: the file must be read from its beginning, as one span
    layout: Layout = LINES
    extra: tuple[Binding, ...] = ()
    repeats: bool = False  # True: calls may stand in it more than once (`ingest.selection` keeps one of each)
    nests: bool = False  # True: calls may stand around others, which is looked for when all is read
    rule: CallRule = CallRule()
    joins: bool = False  # True: a call is two home-made lines, its request and its response, with the same id
    steps: bool = False  # whether steps of agents are read beside the calls
    step_texts: bool = False  # with what tools were given and gave
    root: Path = ()  # `--root`: where the call is in home-made objects
    dialects: tuple[str, ...] = ()  # those of the samples, beside home-made ones
    unmatched: tuple[Binding, ...] = ()  # of `--map`: nothing stands there in the samples
    unread_times: tuple[str, ...] = ()  # keys that look like times and cannot be read, where no time can

    def mapping(self, dialect: str) -> FieldMapping | None:
        """The mapping for a dialect, None where the samples had none of it."""
        return next((mapping for mapping in self.mappings if mapping.dialect == dialect), None)

    def slots(self, dialect: str) -> frozenset[str]:
        """The slots to read of a dialect's objects, "" for those that bring code.

        Home-made objects must show that they are calls, repeated calls which of them is the most complete.
        """
        needed = sources_of(self.fields) | {*CALL_KEYS, JOIN_KEY}
        if dialect == GENERIC:
            return needed | sources_of(frozenset(EVIDENCE)) | frozenset(RESULTS)
        once = bool(dialect) and not DIALECTS[dialect].repeats and not DIALECTS[dialect].nests
        return needed if once else needed | _COMPLETENESS


HEAD_LINES: Final = 200
_FURTHER_LINES: Final = 50  # of a part of the file
OWN: Final = "llmmon"  # rows with the keys of the record alone
WRAPPED: Final = "wrapped"  # home-made objects around the replies of providers


class Wanted(msgspec.Struct, frozen=True):
    """What a command asks of reading: fields, tags, `--map`, `--root`, `--dialect`, `--naive-tz`."""

    fields: frozenset[str]
    tags: tuple[str, ...] = ()
    overrides: tuple[Binding, ...] = ()
    dialect: str | None = None
    naive: str = "UTC"
    root: str | None = None
    steps: bool = False
    step_texts: bool = False


class Sampled(msgspec.Struct):
    """The objects in samples of a file: line by line with the dialect of each, and what stood around them."""

    lines: list[list[Claimed]]
    around: list[Object]
    opened: bool = False  # some lines hold their records inside an envelope

    def rows(self) -> dict[str, list[Object]]:
        """The objects of each dialect."""
        found: dict[str, list[Object]] = {}
        for dialect, each in (pair for line in self.lines for pair in line):
            found.setdefault(GENERIC if dialect is None else dialect.name, []).append(each)
        return found


def sampled(parts: Sequence[bytes], layout: Layout, forced: str | None = None) -> Sampled:
    """The records on the first lines of each part of a file (whole lines); lines that hold none are left out."""
    found = Sampled([], [])
    for part in parts:
        for line in _chosen(elements_of(part, layout)):
            if line.strip(BLANK):
                try:
                    objects = layout.objects_of(line)
                except UnreadableError:
                    continue
                for each in objects:
                    inner = objects_in(each, forced)[:HEAD_LINES]
                    found.lines.append(inner)
                    found.around.append(each)
                    found.opened |= len(inner) != 1 or inner[0][1] is not each
    return found


def _chosen(elements: Sequence[bytes]) -> Sequence[bytes]:
    """The first records of a part, and some of the others from all over it."""
    rest = elements[HEAD_LINES:]
    return [*elements[:HEAD_LINES], *rest[:: max(1, len(rest) // _FURTHER_LINES)]]


def head_objects(head: bytes, layout: Layout, forced: str | None = None) -> list[list[Claimed]]:
    """The records on each of the first lines of a file; lines that hold none are left out."""
    return sampled([head], layout, forced).lines


def plan_for(head: bytes, wanted: Wanted, more: Sequence[bytes] = ()) -> ReadPlan:
    """How to read a file whose first bytes (whole lines) are `head`; `more` are samples from its middle and end."""
    layout = layout_of(head)
    samples = sampled([head, *(more if layout.kind == "lines" else ())], layout, wanted.dialect)
    rows = samples.rows()
    wanted, unmatched = _placed(wanted, samples)
    by_count = sorted(rows, key=lambda name: -len(rows[name]))
    found = [mapping for name in by_count if (mapping := mapping_of(name, rows[name], wanted)) is not None]
    root = steps_of(wanted.root) if wanted.root else ()
    if GENERIC not in rows:
        found.append(resolve([], wanted.overrides, wanted.tags, wanted.naive))
    generic = next(mapping for mapping in found if mapping.dialect == GENERIC)
    label = label_of(rows.get(GENERIC, []))
    rule = CallRule() if label == OWN else _rule(generic, rows)
    joins = not rule.lone and _are_halves(generic, rows[GENERIC])
    if joins:
        rule = CallRule(weak=False, lone=True, halves=True)
        keys = (Binding(JOIN_KEY, b.rank, b.path) for b in generic.bindings if b.slot == "request_id")
        found = [one if one is not generic else _with_bindings(one, keys) for one in found]
    keyed = {binding.slot for binding in generic.bindings} & {JOIN_KEY, CALL_KEY}
    joins |= JOIN_KEY in keyed
    plan = ReadPlan(
        mappings=tuple(found),
        fields=wanted.fields | {TAG_PREFIX + tag for tag in wanted.tags},
        label=label,
        forced=wanted.dialect,
        naive=wanted.naive,
        splittable=layout.splittable and all(name == GENERIC or DIALECTS[name].splittable for name in rows),
        layout=layout,
        extra=(*wanted.overrides, *tag_bindings(wanted.tags)),
        repeats=joins or any(name != GENERIC and DIALECTS[name].repeats for name in rows),
        nests=CALL_KEY in keyed or any(name != GENERIC and DIALECTS[name].nests for name in rows),
        joins=joins,
        rule=rule,
        steps=wanted.steps,
        step_texts=wanted.step_texts,
        root=root,
        unmatched=unmatched,
        unread_times=_unread_times(generic, rows.get(GENERIC, []), wanted.naive),
        dialects=tuple(name for name in rows if name != GENERIC),
    )
    return msgspec.structs.replace(plan, typed=_typed(plan, samples))


def refitted(plan: ReadPlan, better: ReadPlan, doubts: Mapping[str, int]) -> ReadPlan | None:
    """How a file is read anew, once all was read by a plan and `better` was made with what it met; None: as it was.

    Weaker signs of a call do not count where others were found, nor does the beginning of a call where others end.
    """
    rule, generic = better.rule, better.mapping(GENERIC)
    is_known = generic is not None and bool(generic.bindings)  # lines too long for any sample may be our own rows
    calls = doubts.get("calls", 0) if is_known and OWN not in {plan.label, better.label} else 0
    if 0 < doubts.get("weak", 0) < calls:
        rule = msgspec.structs.replace(rule, weak=False)
    if 0 < doubts.get("lone", 0) < calls - doubts.get("weak", 0):
        rule = msgspec.structs.replace(rule, lone=False)
    better = msgspec.structs.replace(better, rule=rule)
    return better if _manner(better) != _manner(plan) or _differ(plan, better) else None


def _manner(plan: ReadPlan) -> tuple[Any, ...]:
    """What decides how lines are read beside the mappings."""
    return plan.rule, plan.joins, plan.repeats, plan.nests, plan.splittable


def _differ(plan: ReadPlan, better: ReadPlan) -> bool:
    """Whether home-made lines are read in other units, or with times where they had none."""
    old, new = plan.mapping(GENERIC), better.mapping(GENERIC)
    if old is None or new is None:
        return old is not new
    known, usual = set(old.bindings), usual_units(old.bindings)
    return any(
        b not in known and (b.unit != usual.get(b.slot, "") if b.kind is Slot.DURATION else b.unit == "dmy")
        for b in new.bindings
        if b.kind in (Slot.DURATION, Slot.TIME) and not any(b.unit == named.unit for named in bindings_at(b.path[-1:]))
    )


def _placed(wanted: Wanted, samples: Sampled) -> tuple[Wanted, tuple[Binding, ...]]:
    """What is wanted, with units and places of `--map` settled; and what of it stands nowhere in the samples.

    A path may be given as it is in the file where the record lies in an envelope, which is taken off first.
    """
    if not wanted.overrides:
        return wanted, ()
    objects = [each for line in samples.lines for _, each in line]
    units = Units(objects, [b for row in objects[:HEAD_LINES] for b in _suggested(row)])
    settled, unmatched = [], []
    for override in wanted.overrides:
        path = next((path for path in _inner_paths(override.path, samples) if _stands(path, objects)), None)
        if path is None:
            unmatched.append(override)
        placed = msgspec.structs.replace(override, path=path or override.path)
        settled.append(_with_unit(placed, units))
    return msgspec.structs.replace(wanted, overrides=tuple(settled)), tuple(unmatched)


def _inner_paths(path: Path, samples: Sampled) -> Iterator[Path]:
    yield path
    if samples.opened and _stands(path, samples.around):
        yield from (path[depth:] for depth in range(1, len(path)))


def _stands(path: Path, objects: Sequence[Object]) -> bool:
    return any(value_at(each, path) is not None for each in objects)


def _with_unit(binding: Binding, units: Units) -> Binding:
    if binding.kind is not Slot.DURATION or binding.unit:
        return binding
    return units.settled(msgspec.structs.replace(binding, unit=unit_named(binding.path[-1])))[0]


def _suggested(row: Object) -> Iterator[Binding]:
    return (binding for binding in bindings_in(row) if binding.slot == "completion_tokens")


def _unread_times(mapping: FieldMapping, rows: Sequence[Object], naive: str) -> tuple[str, ...]:
    """The keys of home-made rows that look like times, where none of them can be read."""
    times = [binding for binding in mapping.bindings if binding.slot in ("start", "end")]
    if any(has_moments(binding, rows, naive) for binding in times):
        return ()
    return tuple(dict.fromkeys(".".join(path) for row in rows for path in like_times(row)))[:3]


def _rule(mapping: FieldMapping, rows: dict[str, list[Object]]) -> CallRule:
    """Which home-made rows are calls: those with evidence; weaker signs count only where no row has any."""
    keys: Keys = {}
    pick = Picker(mapping.bindings, keys)
    found = [evidence_of(((keys[key], value) for key, value in pick(row).items())) for row in rows.get(GENERIC, [])]
    others = any(name != GENERIC and not DIALECTS[name].samples for name in rows)
    results = any(each is Evidence.RESULT for each in found)
    return CallRule(
        weak=not others and not any(each in (Evidence.RESULT, Evidence.STRONG) for each in found),
        lone=not (results and any(each is Evidence.STRONG for each in found)),
    )


def _are_halves(mapping: FieldMapping, rows: Sequence[Object]) -> bool:
    """Whether most lines that only begin a call share their id with a line without a model that ends one."""
    keys: Keys = {}
    pick = Picker(mapping.bindings, keys)
    begun, ended = set[Any](), set[Any]()
    for row in rows:
        values = [(keys[key], value) for key, value in pick(row).items()]
        slots = {binding.slot: value for binding, value in values if binding is not None}
        if "request_id" in slots:
            named = "model" in slots or "model_requested" in slots
            shown = evidence_of(iter(values))
            if named and shown is Evidence.STRONG:
                begun.add(slots["request_id"])
            elif not named and shown in (Evidence.WEAK, Evidence.RESULT):
                ended.add(slots["request_id"])
    return len(begun & ended) > len(begun) / 2


def _with_bindings(mapping: FieldMapping, more: Iterable[Binding]) -> FieldMapping:
    return msgspec.structs.replace(mapping, bindings=tuple(sorted((*mapping.bindings, *more))))


def _typed(plan: ReadPlan, samples: Sampled) -> int:
    """How many mappings, from the first, can be tried on every line as typed decoders, and none by mistake."""
    if plan.layout.kind == "csv" or samples.opened:
        return 0
    count = 0
    for mapping in plan.mappings:
        if mapping.dialect == GENERIC:
            if not samples.rows().get(GENERIC) or not _is_plain(mapping, plan.slots(GENERIC) | {"output", "prompt"}):
                break
        elif DIALECTS[mapping.dialect].proof is not None:
            break
        count += 1
    return count


def _is_plain(mapping: FieldMapping, slots: frozenset[str]) -> bool:
    """Whether the keys of home-made objects say all: none is a text here and an object there.

    What is bound to slots that are not needed does not matter; an error may be either.
    """
    shape = dict(mapping.shape)
    bound = {binding.path: binding.kind for binding in mapping.bindings if binding.slot in slots}
    above = {path[:depth] for path in bound for depth in range(1, len(path))}
    return all(bound.get(path, Slot.OUTCOME) is Slot.OUTCOME for path in above) and all(
        shape.get(path, _OBJECTS) <= _ANY_OBJECTS for path in above
    )


_OBJECTS: Final = frozenset({"dict", "NoneType"})
_ANY_OBJECTS: Final = frozenset({"dict", "list", "NoneType"})


def label_of(rows: Sequence[Object]) -> str:
    """`llmmon` where all keys are the record's own, `wrapped` where replies stand inside, else `generic`."""
    if rows and all(row.keys() <= OWN_KEYS for row in rows):
        return OWN
    return WRAPPED if any(reply_in(row) is not None for row in rows) else GENERIC


def mapping_of(name: str, rows: Sequence[Object], wanted: Wanted) -> FieldMapping | None:
    """The mapping of a dialect's objects, None where it brings code."""
    if name == GENERIC:
        root = steps_of(wanted.root) if wanted.root else ()
        return resolve(rows, wanted.overrides, wanted.tags, wanted.naive, root)
    dialect = DIALECTS[name]
    if dialect.open is not None:
        return None
    extra = (*wanted.overrides, *tag_bindings(wanted.tags, dialect.tags_at))
    claimed = _commonest_mark(dialect, rows)
    return FieldMapping(
        name,
        (*extra, *bindings_of(dialect)),
        shape_of([row for row in rows if passes(dialect.only, row)] or rows),
        known=tuple(sorted(reply_keys(dialect))) if name in REPLIES and not dialect.repeats else (),
        required=tuple({test.path: test for test in (*claimed, *dialect.only)}.values()),
        claimed=claimed if dialect.only else (),
        rivals=_rivals(name, claimed, rows) if not all(passes(dialect.only, row) for row in rows) else None,
        naive=dialect.naive or wanted.naive,
    )


def _commonest_mark(dialect: Dialect, rows: Sequence[Object]) -> Mark:
    """The fingerprint that most of the rows have."""
    passed = Counter(index for row in rows for index, mark in enumerate(dialect.marks) if passes(mark, row))
    return dialect.marks[passed.most_common(1)[0][0] if passed else 0]


def _rivals(name: str, claimed: Mark, rows: Sequence[Object]) -> tuple[Path, ...] | None:
    """Where rows have nothing unless an earlier dialect may claim them: a place for each of its marks.

    None where some mark has no such place.
    """
    there = {path for path, _ in shape_of(rows)} | {test.path for test in claimed}
    found: dict[Path, None] = {}
    for keys, earlier in DIALECTS.before(name):
        path = next(((key,) for key in sorted(keys) if (key,) not in there), None)
        if path is None:
            needed = [next((t.path for t in mark if t.path not in there), None) for mark in DIALECTS[earlier].marks]
            found.update(dict.fromkeys(path for path in needed if path is not None))
            if None in needed:
                return None
        else:
            found[path] = None
    return tuple(found)


_SCALARS: Final = (str, int, float)


def tags_in(head: bytes, forced: str | None = None) -> list[str]:
    """The names of the tags on the first lines of a file, in the order in which they appear."""
    feeds: dict[str, Feed] = {}
    found: dict[str, None] = {}
    for line in head_objects(head, layout_of(head), forced):
        for dialect, each in line:
            if dialect is None:
                found.update(dict.fromkeys(_home_made(each)))
            elif dialect.open is None:
                found.update(dict.fromkeys(_bound(dialect, each)))
            elif not dialect.samples:
                feed = feeds[dialect.name] = feeds.get(dialect.name) or dialect.open()
                found.update(dict.fromkeys(_fed(feed, each)))
    return list(found)


def _home_made(found: Object) -> Iterator[str]:
    holder = holder_of(found)
    for depth in range(len(holder), -1, -1):
        for key, value in value_at(found, holder[:depth]).items():
            if isinstance(value, _SCALARS) and key not in OWN_KEYS and not bindings_at((key,)):
                yield key
    for place in TAG_PLACES:
        for key in _members(found, place) if place else ():
            if place == ("tags",) or not bindings_at((*place, key)):
                yield key


def _bound(dialect: Dialect, found: Object) -> Iterator[str]:
    taken = {binding.path for binding in dialect.bindings}
    for place in dict.fromkeys((*dialect.tags_at, *TAG_PLACES)):
        for key in _members(found, place) if place else ():
            if (*place, key) not in taken:
                yield key


def _members(found: Object, place: Path) -> Iterator[str]:
    inside = value_at(found, place)
    if isinstance(inside, dict):
        yield from (key for key, value in inside.items() if isinstance(value, _SCALARS))


def _fed(feed: Feed, found: Object) -> Iterator[str]:
    for row in feed(found):
        tags: Any = row.get("tags") or ()
        for place in tags if isinstance(tags, tuple) else (tags,):
            if isinstance(place, dict):
                yield from (k for k, value in place.items() if isinstance(k, str) and isinstance(value, _SCALARS))
