"""The configuration file `llmmon.toml`: found, read, checked as a whole, and turned into values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llmmon.alerting.rules import DEFAULT_RULES, LATE_US, AlertRule, with_labels
from llmmon.errors import ConfigError, UsageError, reason_of
from llmmon.text.names import lookup, unknown
from llmmon.text.tables import TomlTable, parse_toml
from llmmon.text.times import time_point, zone

if TYPE_CHECKING:
    from llmmon.alerting.check import CheckPlan
    from llmmon.alerting.mutes import Mute
    from llmmon.alerting.notifiers import Channel
    from llmmon.alerting.objectives import Slo
    from llmmon.alerting.rule_tests import RuleTest
    from llmmon.ingest.query import Query


FILE_NAME: Final = "llmmon.toml"
_TOP_KEYS: Final = frozenset(
    (
        "logs map root dialect timezone naive_timezone state late prices score notify rules serve tests slos budgets"
        " name labels mutes runbook dashboard accepted_before"
    ).split()
)


SCOPES: Final = ("read", "write", "admin")


class TokenReference(msgspec.Struct, frozen=True):
    """Where the tokens of some scopes are: `env:NAME` or `file:PATH`, with one token a line."""

    token: str
    scopes: tuple[str, ...] = ("admin",)


class Serve(msgspec.Struct, frozen=True):
    """The table `[serve]`: the log to write, where to listen, with which certificate, and who may ask what."""

    log: Path | None = None
    host: str = ""
    port: int | None = None
    token: str = ""
    tokens: tuple[TokenReference, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration; `path` is None without a file."""

    path: Path | None = None
    logs: tuple[str, ...] = ()
    map: Mapping[str, str] = msgspec.field(default_factory=dict)  # field -> path[:unit], as `--map`
    root: str | None = None  # as `--root`
    dialect: str | None = None  # as `--dialect`
    timezone: str = "UTC"
    naive_timezone: str = "UTC"
    state: Path | None = None
    late_us: int = LATE_US
    name: str = ""  # of this installation; default: the host's
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)  # of every alert
    prices: Mapping[str, Any] = msgspec.field(default_factory=dict)
    score_thresholds: Mapping[str, float] = msgspec.field(default_factory=dict)
    score_assumed_rate: float = 0.01  # of answers with any one defect
    channels: tuple[Channel, ...] = ()
    serve: Serve = Serve()
    rules: tuple[AlertRule, ...] = ()
    mutes: tuple[Mute, ...] = ()
    slos: tuple[Slo, ...] = ()  # their rules, and those of budgets, are among `rules`
    tests: tuple[RuleTest, ...] = ()  # unit tests of the rules
    accepted_before_us: int = 0  # levels that changed before are the baseline

    @property
    def identity(self) -> str:
        """The path of the configuration, which older versions made part of the ids of alerts."""
        return str(self.path.resolve()) if self.path is not None else ""

    @property
    def active_rules(self) -> tuple[AlertRule, ...]:
        """The configured rules, or the default ones if there are none, with the labels of all alerts."""
        return tuple(with_labels(rule, self.labels) for rule in self.rules or DEFAULT_RULES)

    @property
    def instance(self) -> str:
        """The name of this installation."""
        import socket

        return self.name or socket.gethostname()

    def state_path(self, chosen: Path | None, environment: Mapping[str, str]) -> Path | None:
        """The state file: as chosen, as configured, else one for each configuration; None without a configuration."""
        if chosen is not None or self.state is not None:
            return chosen or self.state
        if self.path is None:
            return None
        from hashlib import sha256

        home = state_home(environment)
        named = self.name or str(self._logical_path(environment))
        found, legacy = (
            home / f"{sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.db"
            for text in (named, self.identity)
        )
        return legacy if legacy.exists() and not found.exists() else found

    def _logical_path(self, environment: Mapping[str, str]) -> Path:
        """The path by which the file was found: a link such as `current` stays the same when its target changes."""
        path = self.path or Path()
        here, shell = Path.cwd(), Path(environment.get("PWD", ""))
        try:
            logical = shell if shell.is_absolute() and shell.samefile(here) else here
        except OSError:
            logical = here
        absolute = path if path.is_absolute() else here / path
        return logical / absolute.relative_to(here) if absolute.is_relative_to(here) else absolute

    def query(self, logs: Sequence[str], wall_us: int) -> Query:
        """A query of all calls of some logs, read as this configuration says."""
        from llmmon.formats.mapping import parse_override
        from llmmon.ingest.query import Query

        return Query(
            logs=tuple(logs),
            wall_us=wall_us,
            prices=self.prices,
            tz=self.timezone,
            naive_tz=self.naive_timezone,
            dialect=self.dialect,
            overrides=tuple(parse_override(f"{field}={path}") for field, path in self.map.items()),
            root=self.root,
        )

    def check_plan(self, state: Path | None, environment: Mapping[str, str], **more: Any) -> CheckPlan:
        """What `check` does with this configuration; `state` is the file that the user chose, if any."""
        from llmmon.alerting.check import CheckPlan

        return CheckPlan(
            rules=self.active_rules,
            slos=self.slos,
            channels=self.channels,
            mutes=self.mutes,
            late_us=self.late_us,
            identity=self.identity,
            name=self.instance,
            labels=self.labels,
            state=self.state_path(state, environment),
            environment=environment,
            **more,
        )


def state_home(environment: Mapping[str, str]) -> Path:
    """The default folder of state files."""
    home = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "~")) / ".local" / "state")
    return Path(home) / "llmmon"


def load(chosen: str | None, environment: Mapping[str, str], here: Path) -> Config:
    """Load the file of `--config`, else the nearest one upwards, else the user's; raises `ConfigError`."""
    path = find(chosen, environment, here)
    if path is None:
        return Config()
    _check_owner(path)
    try:
        table = parse_toml(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", hint="`llmmon init` writes a valid example") from None
    except OSError as error:
        raise ConfigError(f"{path}: {reason_of(error)}") from None
    return parse(table, path)


def find(chosen: str | None, environment: Mapping[str, str], here: Path) -> Path | None:
    """Find the configuration file, None for none; raises `ConfigError` for a chosen one that does not exist."""
    if chosen is not None:
        path = Path(chosen)
        try:
            path.stat()
        except FileNotFoundError:
            raise ConfigError(f"{chosen}: no such configuration file", hint="`llmmon init` writes one") from None
        except OSError as error:
            raise ConfigError(f"{chosen}: {reason_of(error)}") from None
        return path
    home = environment.get("XDG_CONFIG_HOME") or (Path(environment.get("HOME", "~")) / ".config")
    candidates = [folder / FILE_NAME for folder in (here, *here.parents)]
    return next((path for path in (*candidates, Path(home) / "llmmon" / FILE_NAME) if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    """Whether it is a file, as far as this user can see."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def _check_owner(path: Path) -> None:
    """Check that the file is the user's or root's, because a configuration names commands and destinations."""
    owner = path.stat().st_uid
    if hasattr(os, "getuid") and owner not in {os.getuid(), 0}:
        raise ConfigError(f"{path}: belongs to another user (uid {owner})", hint="copy it to a file of your own")


def parse(table: Mapping[str, Any], path: Path | None) -> Config:
    """Check the content of a configuration file; raises one `ConfigError` that lists all faults."""
    read = TomlTable(table)
    read.only(_TOP_KEYS)
    folder = path.parent if path else Path()
    config = Config(
        path=path,
        logs=tuple(str(folder / log) if _is_relative(log) else log for log in read.texts("logs", "paths")),
        map=_map(read),
        root=read.text("root") or None,
        dialect=_dialect(read),
        timezone=_zone(read, "timezone"),
        naive_timezone=_zone(read, "naive_timezone"),
        state=folder / state if (state := read.text("state")) else None,
        late_us=read.duration("late", "2m"),
        name=read.text("name"),
        labels=read.named_texts("labels"),
        prices=read.table("prices").items,
        score_thresholds=_thresholds(read.table("score")),
        score_assumed_rate=read.table("score").number("assumed_rate", 0.01),
        channels=_channels(read.table("notify"), folder, read.text("timezone") or "UTC"),
        serve=_serve(read.table("serve"), folder),
        rules=_rules(read),
        slos=_slos(read),
    )
    config = msgspec.structs.replace(config, accepted_before_us=_moment(read, "accepted_before", config.timezone))
    config = msgspec.structs.replace(config, rules=_all_rules(read, config), mutes=_mutes(read, config.timezone))
    config = msgspec.structs.replace(config, tests=_tests(read, config.rules))
    _check_notify(read, config.rules)
    if read.faults:
        raise ConfigError(read.faults_text(path))
    return config


def _is_relative(log: str) -> bool:
    return log != "-" and "://" not in log and not Path(log).is_absolute()


def _zone(read: TomlTable, key: str) -> str:
    name = read.text(key) or "UTC"
    return name if read.check(key, lambda: zone(name)) else "UTC"


def _moment(read: TomlTable, key: str, tz: str) -> int:
    """A time, as TOML has it or as text, in microseconds; 0 without one."""
    if not read.has(key):
        return 0
    given = read.value(key)
    text = given.isoformat() if isinstance(given, datetime) else read.text(key)
    found = 0

    def parsed() -> None:
        nonlocal found
        point = time_point(text, tz)
        if not isinstance(point, int) or isinstance(point, tuple):
            raise UsageError(f"{text!r} is not a fixed time", hint="write 2026-01-31T08:00:00Z")
        found = point

    if text:
        read.check(key, parsed)
    return found


def _map(read: TomlTable) -> dict[str, str]:
    """`[map]`: a path for each field, as in `--map FIELD=PATH[:UNIT]`."""
    table = read.table("map")
    found = {field: table.text(field) for field in table.items}
    if found:
        from llmmon.formats.mapping import parse_override  # needs numpy

        for field, path in found.items():
            table.check(field, partial(parse_override, f"{field}={path}"))
    return found


def _dialect(read: TomlTable) -> str | None:
    name = read.text("dialect")
    if name:
        from llmmon.formats import DIALECTS

        read.check("dialect", lambda: lookup(dict.fromkeys((*DIALECTS, "generic", "llmmon")), name, "dialect"))
    return name or None


def _thresholds(score: TomlTable) -> dict[str, float]:
    score.only({"thresholds", "assumed_rate"})
    thresholds = score.table("thresholds")
    return {name: thresholds.number(name) for name in thresholds.items}


def _serve(read: TomlTable, folder: Path) -> Serve:
    read.only(Serve.__struct_fields__)
    port = read.whole("port")
    if port is not None and port >= 1 << 16:
        read.fault("port", "must be a number up to 65535")
    paths = {key: folder / Path(read.text(key)).expanduser() if read.text(key) else None for key in _SERVE_PATHS}
    if paths["tls_key"] and not paths["tls_cert"]:
        read.fault("tls_key", "needs tls_cert, the certificate that it belongs to")
    return Serve(
        host=read.text("host"),
        port=port,
        token=_token(read, folder),
        tokens=tuple(_scoped_token(table, folder) for table in read.tables("tokens")),
        **paths,
    )


_SERVE_PATHS: Final = ("log", "tls_cert", "tls_key")


def _token(read: TomlTable, folder: Path) -> str:
    """The reference to a token, with the path of its file seen from the configuration."""
    token = read.text("token", secret=True)
    if token.startswith("file:"):
        return f"file:{folder.absolute() / Path(token.removeprefix('file:')).expanduser()}"
    return token


def _scoped_token(read: TomlTable, folder: Path) -> TokenReference:
    read.only(TokenReference.__struct_fields__)
    token, scopes = _token(read, folder), read.texts("scopes")
    if not token.removeprefix("env:").removeprefix("file:") or not token.startswith(("env:", "file:")):
        read.fault("token", "must be env:NAME or file:PATH of the token, not the token itself")
    for scope in scopes:
        if scope not in SCOPES:
            read.fault("scopes", unknown("scope", scope, SCOPES))
    return TokenReference(token, scopes or ("admin",))


def _channels(read: TomlTable, folder: Path, tz: str) -> tuple[Channel, ...]:
    if not read.items:
        return ()
    from llmmon.alerting.notifiers import anchored, channel_of

    found = [channel_of(name, table, tz) for name, table in read.items.items()]
    read.faults += [fault for _, faults in found for fault in faults]
    return tuple(anchored(channel, folder.absolute()) for channel, _ in found if channel is not None)


def _rules(read: TomlTable) -> tuple[AlertRule, ...]:
    if not read.has("rules"):
        return ()
    from llmmon.alerting.rule_config import rules_of

    return rules_of(read.tables("rules"))


def _mutes(read: TomlTable, tz: str) -> tuple[Mute, ...]:
    if not read.has("mutes"):
        return ()
    from llmmon.alerting.mutes import mutes_of

    return mutes_of(read.tables("mutes"), tz)


def _slos(read: TomlTable) -> tuple[Slo, ...]:
    if not read.has("slos"):
        return ()
    from llmmon.alerting.objectives import slos_of

    return slos_of(read.tables("slos"))


def _all_rules(read: TomlTable, config: Config) -> tuple[AlertRule, ...]:
    """The rules, including those of objectives and budgets; no two may have the same name."""
    found = [*config.rules, *(rule for slo in config.slos for rule in slo.rules)]
    if read.has("budgets"):
        from llmmon.alerting.objectives import budgets_of

        found += [rule for budget in budgets_of(read.tables("budgets"), config.timezone) for rule in budget.rules]
    names = [rule.name for rule in found]
    for name in dict.fromkeys(name for name in names[len(config.rules) :] if names.count(name) > 1):
        read.fault("rules", f"two have the name {name!r}, counting those of [[slos]] and [[budgets]]")
    links = {key: read.text(key) for key in ("runbook", "dashboard") if read.has(key)}
    found = found or list(DEFAULT_RULES if links else ())
    found = [_with_baseline(rule, config.accepted_before_us) for rule in found]
    return tuple(_with_links(read, rule, links) for rule in found)


def _with_baseline(rule: AlertRule, accepted_us: int) -> AlertRule:
    return msgspec.structs.replace(rule, accepted_before_us=accepted_us) if rule.anomaly and accepted_us else rule


def _with_links(read: TomlTable, rule: AlertRule, links: Mapping[str, str]) -> AlertRule:
    """A rule with the links of all alerts where it has none of its own."""
    if not links:
        return rule
    from llmmon.alerting.rule_config import check_link

    for key, template in links.items():
        check_link(read, key, template, rule)
    read.faults[:] = dict.fromkeys(read.faults)  # the same is wrong for every rule
    return msgspec.structs.replace(rule, **{key: getattr(rule, key) or text for key, text in links.items()})


def _tests(read: TomlTable, rules: tuple[AlertRule, ...]) -> tuple[RuleTest, ...]:
    if not read.has("tests"):
        return ()
    from llmmon.alerting.rule_tests import tests_of

    return tests_of(read.tables("tests"), rules or DEFAULT_RULES)


def _check_notify(read: TomlTable, rules: Sequence[AlertRule]) -> None:
    channels = read.value("notify")
    known = channels if isinstance(channels, dict) else {}
    for rule in rules:
        for name in rule.notify or ():
            if name not in known:
                why = unknown("channel", name, known) if known else f"there is no [notify.{name}]"
                read.fault("rules", f"{rule.name!r} notifies {name!r}: {why}")
