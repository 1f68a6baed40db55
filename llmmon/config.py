"""The configuration file: found, read, checked as a whole, and resolved to frozen values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llmmon.alerting.rules import DEFAULT_RULES, LATE_US, AlertRule
from llmmon.errors import ConfigError, UsageError
from llmmon.text.names import nearest, unknown
from llmmon.text.times import duration_us, zone

if TYPE_CHECKING:
    from llmmon.alerting.check import CheckPlan
    from llmmon.alerting.notifiers import Channel
    from llmmon.alerting.objectives import Slo
    from llmmon.alerting.rule_tests import RuleTest


FILE_NAME: Final = "llmmon.toml"
_TOP_KEYS: Final = frozenset(
    {"logs", "timezone", "naive_timezone", "state", "late", "prices", "score", "notify", "rules", "serve", "tests"}
    | {"slos", "budgets"}
)


class Serve(msgspec.Struct, frozen=True):
    """What `[serve]` says: the log that is written, where to listen, where the token is found."""

    log: Path | None = None
    host: str = ""
    port: int | None = None
    token: str = ""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says; `path` is None without one."""

    path: Path | None = None
    logs: tuple[str, ...] = ()
    timezone: str = "UTC"
    naive_timezone: str = "UTC"
    state: Path | None = None
    late_us: int = LATE_US
    prices: Mapping[str, Any] = msgspec.field(default_factory=dict)
    score_thresholds: Mapping[str, float] = msgspec.field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    serve: Serve = Serve()
    rules: tuple[AlertRule, ...] = ()
    slos: tuple[Slo, ...] = ()  # their rules, and those of budgets, are among `rules`
    tests: tuple[RuleTest, ...] = ()  # of the rules

    @property
    def identity(self) -> str:
        """What sets the alerts of this configuration apart from those of another."""
        return str(self.path.resolve()) if self.path is not None else ""

    @property
    def active_rules(self) -> tuple[AlertRule, ...]:
        """The configured rules, the default ones where there are none."""
        return self.rules or DEFAULT_RULES

    def state_path(self, chosen: Path | None, environment: Mapping[str, str]) -> Path | None:
        """Where the state is: as chosen, as configured, else one file per configuration; None without either."""
        if chosen is not None or self.state is not None:
            return chosen or self.state
        if self.path is None:
            return None
        from hashlib import sha256

        return state_home(environment) / f"{sha256(self.identity.encode()).hexdigest()[:16]}.db"

    def check_plan(self, state: Path | None, environment: Mapping[str, str], **more: Any) -> CheckPlan:
        """What `check` does with this configuration; `state` is the file that the user chose, if any."""
        from llmmon.alerting.check import CheckPlan

        return CheckPlan(
            rules=self.active_rules,
            slos=self.slos,
            channels=self.channels,
            late_us=self.late_us,
            identity=self.identity,
            state=self.state_path(state, environment),
            environment=environment,
            **more,
        )


def state_home(environment: Mapping[str, str]) -> Path:
    """The folder of state files that are not named anywhere."""
    home = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "~")) / ".local" / "state")
    return Path(home) / "llmmon"


def load(chosen: str | None, environment: Mapping[str, str], here: Path) -> Config:
    """The configuration of `--config`, else the nearest upwards, else the user's; raises `ConfigError`."""
    path = find(chosen, environment, here)
    if path is None:
        return Config()
    from llmmon.text.tables import parse_toml  # only needed where there is a file

    _check_owner(path)
    try:
        table = parse_toml(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", hint="see `llmmon init` for a file that works") from None
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    return parse(table, path)


def find(chosen: str | None, environment: Mapping[str, str], here: Path) -> Path | None:
    """Which configuration file applies, None for none; raises `ConfigError` for a chosen one that is not there."""
    if chosen is not None:
        path = Path(chosen)
        try:
            path.stat()
        except FileNotFoundError:
            raise ConfigError(f"{chosen}: no such configuration file", hint="`llmmon init` writes one") from None
        except OSError as error:
            raise ConfigError(f"{chosen}: {(error.strerror or str(error)).lower()}") from None
        return path
    home = environment.get("XDG_CONFIG_HOME") or (Path(environment.get("HOME", "~")) / ".config")
    candidates = [folder / FILE_NAME for folder in (here, *here.parents)]
    return next((path for path in (*candidates, Path(home) / "llmmon" / FILE_NAME) if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    """Whether it is there, as far as this user can see."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def _check_owner(path: Path) -> None:
    """A configuration can name commands and destinations, so it must be ours (or root's)."""
    owner = path.stat().st_uid
    if hasattr(os, "getuid") and owner not in {os.getuid(), 0}:
        raise ConfigError(f"{path}: belongs to another user (uid {owner})", hint="copy it, or name it as your own")


def parse(table: Mapping[str, Any], path: Path | None) -> Config:
    """A table of the configuration file, checked; raises one `ConfigError` that lists all faults."""
    faults = _Faults()
    faults.unknown_keys(table, _TOP_KEYS, "")
    logs = faults.texts(table, "logs")
    folder = path.parent if path else Path()
    config = Config(
        path=path,
        logs=tuple(str(folder / log) if _is_relative(log) else log for log in logs),
        timezone=faults.zone(table, "timezone"),
        naive_timezone=faults.zone(table, "naive_timezone"),
        state=folder / state if (state := faults.text(table, "state")) else None,
        late_us=faults.duration(table, "late", "2m"),
        prices=faults.table(table, "prices"),
        score_thresholds=_thresholds(faults, table),
        channels=_channels(faults, table, folder),
        serve=_serve(faults, table, folder),
        rules=_rules(faults, table),
        slos=_slos(faults, table),
    )
    config = msgspec.structs.replace(config, rules=_all_rules(faults, table, config))
    config = msgspec.structs.replace(config, tests=_tests(faults, table, config.rules))
    _check_notify(faults, config.rules, faults.table(table, "notify"))
    faults.raise_for(path)
    return config


def _is_relative(log: str) -> bool:
    return log != "-" and "://" not in log and not Path(log).is_absolute()


def _thresholds(faults: _Faults, table: Mapping[str, Any]) -> dict[str, float]:
    score = faults.table(table, "score")
    faults.unknown_keys(score, frozenset({"thresholds"}), "score.")
    return {name: faults.number(v, f"score.thresholds.{name}") for name, v in faults.table(score, "thresholds").items()}


def _serve(faults: _Faults, table: Mapping[str, Any], folder: Path) -> Serve:
    found = faults.table(table, "serve")
    faults.unknown_keys(found, frozenset(Serve.__struct_fields__), "serve.")
    port = found.get("port")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 1 << 16):
        faults.found.append("serve.port: must be a number up to 65535")
        port = None
    log = faults.text(found, "log")
    token = faults.text(found, "token")
    if token.startswith("file:"):
        token = f"file:{folder.absolute() / Path(token.removeprefix('file:')).expanduser()}"
    return Serve(folder / log if log else None, faults.text(found, "host"), port, token)


def _rules(faults: _Faults, table: Mapping[str, Any]) -> tuple[AlertRule, ...]:
    if "rules" not in table:
        return ()
    from llmmon.alerting.rule_config import rules_of

    return rules_of(table["rules"], faults.found)


def _slos(faults: _Faults, table: Mapping[str, Any]) -> tuple[Slo, ...]:
    if "slos" not in table:
        return ()
    from llmmon.alerting.objectives import slos_of

    return slos_of(table["slos"], faults.found)


def _all_rules(faults: _Faults, table: Mapping[str, Any], config: Config) -> tuple[AlertRule, ...]:
    """The rules, those of objectives and those of budgets; no two have the same name."""
    found = [*config.rules, *(rule for slo in config.slos for rule in slo.rules)]
    if "budgets" in table:
        from llmmon.alerting.objectives import budgets_of

        budgets = budgets_of(table["budgets"], config.timezone, faults.found)
        found += [rule for budget in budgets for rule in budget.rules]
    names = [rule.name for rule in found]
    for name in dict.fromkeys(name for name in names[len(config.rules) :] if names.count(name) > 1):
        faults.found.append(f"rules: two are called {name!r}, counting those of [[slos]] and [[budgets]]")
    return tuple(found)


def _check_notify(faults: _Faults, rules: Sequence[AlertRule], channels: Mapping[str, Any]) -> None:
    for rule in rules:
        for name in rule.notify or ():
            if name not in channels:
                known = unknown("channel", name, channels) if channels else f"there is no [notify.{name}]"
                faults.found.append(f"rules: {rule.name!r} notifies {name!r}: {known}")


def _tests(faults: _Faults, table: Mapping[str, Any], rules: tuple[AlertRule, ...]) -> tuple[RuleTest, ...]:
    if "tests" not in table:
        return ()
    from llmmon.alerting.rule_tests import tests_of

    return tests_of(table["tests"], rules or DEFAULT_RULES, faults.found)


def _channels(faults: _Faults, table: Mapping[str, Any], folder: Path) -> tuple[Channel, ...]:
    tables = faults.table(table, "notify")
    if not tables:
        return ()
    from llmmon.alerting.notifiers import anchored, channel_of

    found = [channel_of(name, one) for name, one in tables.items()]
    faults.found += [fault for _, those in found for fault in those]
    return tuple(anchored(channel, folder.absolute()) for channel, _ in found if channel is not None)


class _Faults:
    """Reads values of a table, and keeps what is wrong with them."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def unknown_keys(self, table: Mapping[str, Any], known: frozenset[str], prefix: str) -> None:
        for key in table:
            if key not in known:
                guess = nearest(key, known)
                self.found.append(f"{prefix}{key}: unknown key" + (f", did you mean {guess!r}?" if guess else ""))

    def text(self, table: Mapping[str, Any], key: str) -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            self.found.append(f"{key}: must be text")
            return ""
        return value

    def texts(self, table: Mapping[str, Any], key: str) -> Sequence[str]:
        value = table.get(key, [])
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.found.append(f"{key}: must be a list of paths")
            return []
        return value

    def table(self, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = table.get(key, {})
        if not isinstance(value, dict):
            self.found.append(f"{key}: must be a table, as [{key}]")
            return {}
        return value

    def zone(self, table: Mapping[str, Any], key: str) -> str:
        name = self.text(table, key) or "UTC"
        try:
            zone(name)
        except UsageError as error:
            self.found.append(f"{key}: {error}")
            return "UTC"
        return name

    def duration(self, table: Mapping[str, Any], key: str, default: str) -> int:
        try:
            return duration_us(self.text(table, key) or default)
        except UsageError as error:
            self.found.append(f"{key}: {error} ({error.hint})")
            return 0

    def number(self, value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.found.append(f"{key}: must be a number")
            return 0.0
        return float(value)

    def raise_for(self, path: Path | None) -> None:
        if self.found:
            faults = "\n".join(f"  {fault}" for fault in self.found)
            raise ConfigError(f"{path}: {len(self.found)} fault{'s' * (len(self.found) > 1)}\n{faults}")
