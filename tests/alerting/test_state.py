"""The state file: what it keeps, what it refuses, and what becomes of one that is broken."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.alerting.alert import Silence
from llmmon.alerting.history import Stream, StreamsFold, bounded, packed, split, unpacked
from llmmon.alerting.reading import admitted, joined
from llmmon.alerting.rules import MOST_GROUPS, OTHER
from llmmon.alerting.state import _MIGRATIONS, BusyError, StateFile, sole_evaluator
from llmmon.errors import InputError
from llmmon.metrics.aggregates import Aggregates
from llmmon.metrics.columns import Columns, Names
from llmmon.text.times import MINUTE_US
from tests.support.aggregates import contents_of
from tests.support.alerts_factory import alert

LATENCY = Stream("latency_ms", ("model",), values=True)


def calls(minutes: list[int], latencies: list[int], models: list[str]) -> Columns:
    names = sorted(set(models))
    return Columns(
        len(minutes),
        np.array(minutes, np.int64) * MINUTE_US,
        {"latency_ms": np.array(latencies, np.float64) * 1000},
        {"model": Names(np.array([names.index(model) for model in models], np.int32), names)},
    )


def minutes_of(columns: Columns) -> Aggregates:
    fold = StreamsFold([LATENCY])
    fold.add(columns, [])
    return fold.result()[0]


rows = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100_000), st.sampled_from("abc")), max_size=60)


Rows = list[tuple[int, int, str]]


def columns_of(found: Rows) -> Columns:
    return calls([row[0] for row in found], [row[1] for row in found], [row[2] for row in found])


def same(one: Aggregates, other: Aggregates) -> bool:
    return contents_of(one)[0] == contents_of(other)[0]  # the history does not keep the first and the last time


@given(rows)
def test_what_is_packed_is_unpacked_the_same(found: Rows) -> None:
    part = minutes_of(columns_of(found))
    assert same(part, unpacked(packed(part)))


@given(rows, rows)
def test_minutes_are_the_same_however_they_arrive(first: Rows, second: list[tuple[int, int, str]]) -> None:
    with StateFile(None) as state:
        for found in (first, second):
            state.add_history(LATENCY.name, minutes_of(columns_of(found)), joined)
        assert same(state.history(LATENCY.name, 0, 300), minutes_of(columns_of([*first, *second])))


def test_minutes_with_very_many_values_are_the_same_in_any_pieces() -> None:
    generator = np.random.default_rng(5)
    latencies = generator.integers(1, 1_000_000, 12_000).tolist()
    whole = minutes_of(calls([7] * 12_000, latencies, ["a"] * 12_000))
    pieces = [minutes_of(calls([7] * 1000, latencies[i : i + 1000], ["a"] * 1000)) for i in range(0, 12_000, 1000)]
    assert same(whole, joined(pieces))
    assert same(whole, joined([joined(pieces[:5]), joined(pieces[5:])]))
    assert same(whole, bounded(whole))
    assert len(whole.values["latency_ms"].runs[0].keys) < 2000


@given(rows, st.integers(1, 300))
def test_a_stretch_of_minutes_holds_just_their_calls(found: Rows, width: int) -> None:
    whole = dict(split(minutes_of(columns_of(found)), width))
    assert list(whole) == sorted({row[0] // width for row in found})
    for number, part in whole.items():
        assert same(part, minutes_of(columns_of([row for row in found if row[0] // width == number])))


def test_the_hundredth_group_is_the_last_with_a_name() -> None:
    models = [f"m{i:03}" for i in range(130)]
    part, known = admitted(minutes_of(calls([1] * 130, [5] * 130, models)), ())
    assert (MOST_GROUPS, models[:MOST_GROUPS]) == (len(known), [name for (name,) in known])
    others = part.groups.index((1, OTHER))
    assert 30 == part.sums["latency_ms"].count[others]
    again, still = admitted(minutes_of(calls([2], [5], ["new"])), known)
    assert (((2, OTHER),), known) == (again.groups, still)


def test_a_corrupt_file_is_set_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    StateFile(path).__exit__()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    said: list[str] = []
    with StateFile(path, replaced=said.append) as state:
        assert {} == state.alerts()
    assert 1 == len(said)
    assert "corrupt" in said[0]
    aside = [file for file in tmp_path.iterdir() if ".corrupt-" in file.name]
    assert [b"SQLite for"] == [file.read_bytes()[:10] for file in aside]


def test_a_file_of_a_newer_llmmon_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    StateFile(path).__exit__()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(InputError, match="newer llmmon"):
        StateFile(path)
    assert ["state.db"] == [
        file.name for file in tmp_path.iterdir() if ".corrupt" not in file.name and file.suffix == ".db"
    ]


def test_alerts_keep_the_names_under_which_older_versions_stored_them(tmp_path: Path) -> None:
    stored = {
        "alert_id": "a1",
        "title": "slow",
        "description": "",
        "severity": "error",
        "metric_name": "latency_ms",
        "value": 9.0,
        "threshold": 5.0,
        "timestamp": "2026-03-02T10:00:00Z",
        "rule": "slow",
        "fired_us": 1,
        "told_us": 7,
        "told_end_us": 3,
    }
    path = tmp_path / "state.db"
    StateFile(path).__exit__()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO alerts VALUES (?, ?)", ("a1", msgspec.msgpack.encode(stored)))
    db.close()
    with StateFile(path) as state:
        alert = state.alerts()["a1"]
    assert (7, 3) == (alert.notified_us, alert.last_resolved_notified_us)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(alert))
    assert (7, 3) == (again["told_us"], again["told_end_us"])


@pytest.mark.parametrize("version", range(1, len(_MIGRATIONS)))
def test_a_file_of_an_older_version_is_migrated_and_keeps_what_it_holds(tmp_path: Path, version: int) -> None:
    path = tmp_path / "state.db"
    kept = alert(1, episode=3)
    with sqlite3.connect(path) as db:
        for migration in _MIGRATIONS[:version]:
            db.executescript(migration)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("INSERT INTO facts VALUES ('evaluated_minute', '29000000')")
        db.execute("INSERT INTO alerts VALUES (?, ?)", (kept.alert_id, msgspec.msgpack.encode(kept)))
        silence = Silence("s1", {"rule": "slow"}, 5)
        db.execute("INSERT INTO silences VALUES (?, ?)", ("s1", msgspec.msgpack.encode(silence)))
        row = ("hook", kept.alert_id, 3, "trigger", msgspec.msgpack.encode(kept), 0, 0)
        db.execute(
            "INSERT INTO outbox (channel, alert_id, episode, event, data, due_us, created_us) VALUES (?,?,?,?,?,?,?)",
            row,
        )
    db.close()
    with StateFile(path) as state:
        assert ({kept.alert_id: kept}, [silence]) == (state.alerts(), state.silences())
        assert [("hook", kept)] == [(one.channel, one.alert) for one in state.outbox.queued()]
        assert "29000000" == state.fact("evaluated_minute")
        state.add_action(7, kept, "acknowledged", "ann", "known")
        assert [(7, kept.alert_id, 3, "acknowledged", "ann", "known")] == state.actions()
    with sqlite3.connect(path) as db:
        assert len(_MIGRATIONS) == db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    with StateFile(path) as state:  # a second time nothing is left to do
        assert {kept.alert_id: kept} == state.alerts()


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with StateFile(tmp_path / "folder" / "state.db"):
        assert 0o600 == (tmp_path / "folder" / "state.db").stat().st_mode & 0o777


def test_what_fails_inside_a_transaction_leaves_nothing(tmp_path: Path) -> None:
    def failing(state: StateFile) -> None:
        with state.transaction():
            state.set_fact("fact", "one")
            raise ZeroDivisionError

    with StateFile(tmp_path / "state.db") as state:
        with pytest.raises(ZeroDivisionError):
            failing(state)
        assert state.fact("fact") is None


def test_a_second_evaluator_waits_briefly_and_leaves(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sole_evaluator(path), pytest.raises(BusyError, match="another evaluation"), sole_evaluator(path, wait_s=0.1):
        raise AssertionError("two at once")
    with sole_evaluator(path, wait_s=0.0):
        pass
