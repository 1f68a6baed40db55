"""Rules that were added while running, kept in the state beside those of the configuration."""

from __future__ import annotations

from typing import Final

import msgspec

from llmmon.config import Config
from llmmon.errors import UsageError
from llmmon.names import lookup
from llmmon.rules import DEFAULT_RULES, AlertRule
from llmmon.statefile import StateFile

MOST_ADDED: Final = 200
_FACT: Final = "added_rules"


def configured_rules(config: Config) -> tuple[AlertRule, ...]:
    """The rules of the configuration, the default ones where it has none."""
    return config.rules or DEFAULT_RULES


def added_rules(state: StateFile) -> tuple[AlertRule, ...]:
    """The rules that were added, oldest first."""
    text = state.fact(_FACT)
    return () if text is None else tuple(msgspec.json.decode(text, type=list[AlertRule]))


def all_rules(config: Config, state: StateFile) -> tuple[AlertRule, ...]:
    """Every rule that is evaluated; one of the configuration outranks an added one of the same name."""
    known = configured_rules(config)
    names = {rule.name for rule in known}
    return (*known, *(rule for rule in added_rules(state) if rule.name not in names))


def add_rule(state: StateFile, rule: AlertRule, config: Config) -> None:
    """Add a rule, or replace the added one of its name; raises `UsageError` for a configured rule's name."""
    if any(rule.name == one.name for one in configured_rules(config)):
        raise UsageError(f"{rule.name!r} is a rule of the configuration", hint="choose another name")
    with state.transaction():
        others = [one for one in added_rules(state) if one.name != rule.name]
        if len(others) >= MOST_ADDED:
            raise UsageError(f"{MOST_ADDED} rules were added already", hint="put rules into llmmon.toml")
        _save(state, [*others, rule])


def drop_rule(state: StateFile, name: str) -> None:
    """Take an added rule back; its alerts are resolved at the next evaluation. Raises `UsageError` if there is none."""
    with state.transaction():
        known = {rule.name: rule for rule in added_rules(state)}
        if not known:
            raise UsageError(f"no rule {name!r}: none was added")
        del known[lookup({one: one for one in known}, name, "rule")]
        _save(state, list(known.values()))


def _save(state: StateFile, rules: list[AlertRule]) -> None:
    state.remember(_FACT, msgspec.json.encode(rules).decode())
