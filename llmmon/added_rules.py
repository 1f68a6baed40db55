"""Rules that were added while running, kept in the state beside those of the configuration.

They are kept as the tables that they were given as, so that a later version reads them as it reads a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llmmon.config import Config
from llmmon.errors import ConfigError, UsageError
from llmmon.names import lookup
from llmmon.rule_tables import rules_of
from llmmon.rules import DEFAULT_RULES, AlertRule
from llmmon.statefile import StateFile

MOST_ADDED: Final = 200
_FACT: Final = "added_rules"
Table = Mapping[str, Any]  # as one of `[[rules]]`


class FaultyRuleError(ConfigError):
    """A rule that cannot be; `faults` as `metric: unknown metric ...`."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def configured_rules(config: Config) -> tuple[AlertRule, ...]:
    """The rules of the configuration, the default ones where it has none."""
    return config.rules or DEFAULT_RULES


def added_rules(state: StateFile) -> tuple[AlertRule, ...]:
    """The rules that were added, oldest first; those that this version does not know are left out."""
    found: list[AlertRule] = []
    for table in _tables(state):
        faults: list[str] = []
        rules = rules_of([table], faults)
        found += () if faults else rules
    return tuple(found)


def all_rules(config: Config, state: StateFile) -> tuple[AlertRule, ...]:
    """Every rule that is evaluated; one of the configuration outranks an added one of the same name."""
    known = configured_rules(config)
    names = {rule.name for rule in known}
    return (*known, *(rule for rule in added_rules(state) if rule.name not in names))


def add_rule(state: StateFile, table: Table, config: Config) -> None:
    """Add a rule, or replace the added one of its name.

    Raises `FaultyRuleError`, and `UsageError` for the name of a configured rule or where there are too many.
    """
    _check(table, config)
    if any(table["name"] == one.name for one in configured_rules(config)):
        raise UsageError(f"{table['name']!r} is a rule of the configuration", hint="choose another name")
    with state.transaction():
        others = [one for one in _tables(state) if one["name"] != table["name"]]
        if len(others) >= MOST_ADDED:
            raise UsageError(f"{MOST_ADDED} rules were added already", hint="put rules into llmmon.toml")
        _save(state, [*others, table])


def _check(table: Table, config: Config) -> None:
    faults: list[str] = []
    rules = rules_of([table], faults)
    channels = {channel.name for channel in config.channels}
    strange = [name for rule in rules for name in rule.notify or () if name not in channels]
    faults += [f"notify: there is no channel {name!r}" for name in strange]
    if faults:
        raise FaultyRuleError([fault.removeprefix("rules[1].") for fault in faults])


def drop_rule(state: StateFile, name: str) -> None:
    """Take an added rule back; its alerts are resolved at the next evaluation. Raises `UsageError` if there is none."""
    with state.transaction():
        known = {table["name"]: table for table in _tables(state)}
        if not known:
            raise UsageError(f"no rule {name!r}: none was added")
        del known[lookup({one: one for one in known}, name, "rule")]
        _save(state, list(known.values()))


def _tables(state: StateFile) -> list[dict[str, Any]]:
    text = state.fact(_FACT)
    return [] if text is None else msgspec.json.decode(text, type=list[dict[str, Any]])


def _save(state: StateFile, tables: list[Table]) -> None:
    state.remember(_FACT, msgspec.json.encode(tables).decode())
