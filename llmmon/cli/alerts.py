"""`llmmon alerts`: list the alerts of `check` and `serve`, and act on them."""

import os
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmmon.cli.options import StateOption, opened_state
from llmmon.errors import UsageError

if TYPE_CHECKING:
    from llmmon.alerting.actions import Actor
    from llmmon.alerting.alert import Alert
    from llmmon.config import Config


alerts: Final = typer.Typer(
    name="alerts",
    help="List alerts; acknowledge, resolve or silence them.\n\n"
    "Examples:\n  llmmon alerts list\n  llmmon alerts silence rule='High*' --for 2h",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigFile = Annotated[str | None, typer.Option("--config", help="Configuration file.", metavar="FILE")]
Ids = Annotated[list[str], typer.Argument(help="Alert ids, or prefixes of them.", metavar="ID...")]
IncidentIds = Annotated[list[str], typer.Argument(help="Ids of incidents or of their alerts.", metavar="ID...")]
Why = Annotated[str, typer.Option("--why", help="The reason, stored with it.", metavar="TEXT")]
Format = Annotated[
    str | None, typer.Option("--format", "-f", help="table, json, jsonl, csv or markdown.", metavar="FORMAT")
]


@alerts.command("list")
def list_alerts(
    every: Annotated[bool, typer.Option("--all", help="Also show resolved alerts.")] = False,
    output_format: Format = None,
    tz: Annotated[str | None, typer.Option("--tz", help="Time zone of the output.", metavar="ZONE")] = None,
    state: StateOption = None,
    config: ConfigFile = None,
) -> None:
    """Show the open alerts and the silences.

    Examples:
      llmmon alerts list
      llmmon alerts list --all
    """
    from llmmon.alerting.actions import open_alerts
    from llmmon.cli.output import Output
    from llmmon.ingest.report import SourceReport
    from llmmon.output.views.alerts import view_alerts

    output = Output.of(output_format, None, quiet=False)
    with opened_state(config, state, output) as (store, found):
        known, silences = open_alerts(store, _now_us(), every=every)
    view = view_alerts(known, silences, tz or found.timezone)
    output.finish("alerts", view, SourceReport(), set())


@alerts.command()
def history(
    since: Annotated[
        str, typer.Option("--since", help="From this time on: 7d (ago) or a time.", metavar="TIME")
    ] = "7d",
    rule: Annotated[str, typer.Option("--rule", help="Only this rule; * and ? are wildcards.", metavar="NAME")] = "",
    output_format: Format = None,
    tz: Annotated[str | None, typer.Option("--tz", help="Time zone of the output.", metavar="ZONE")] = None,
    state: StateOption = None,
    config: ConfigFile = None,
) -> None:
    """Show past episodes of alerts, and who did what.

    Up to 90 days are kept.

    Examples:
      llmmon alerts history
      llmmon alerts history --since 30d --rule 'High Latency'
    """
    from llmmon.alerting.actions import history as past
    from llmmon.cli.output import Output
    from llmmon.ingest.report import SourceReport
    from llmmon.output.views.alerts import view_history
    from llmmon.text.times import moment_us

    output = Output.of(output_format, None, quiet=False)
    with opened_state(config, state, output) as (store, found):
        zone = tz or found.timezone
        episodes = past(store, moment_us(since, _now_us(), zone), rule)
    output.finish("alerts history", view_history(episodes, zone), SourceReport(), set())


@alerts.command()
def ack(ids: Ids, why: Why = "", state: StateOption = None, config: ConfigFile = None) -> None:
    """Acknowledge alerts, so that they are not repeated.

    Examples:
      llmmon alerts ack 3f2a
      llmmon alerts ack 3f2a --why 'looking into it'
    """
    from llmmon.alerting.actions import acknowledge

    with opened_state(config, state) as (store, found):
        for alert in acknowledge(store, ids, _actor(found, why)):
            _said("acknowledged", alert)


@alerts.command()
def resolve(ids: Ids, why: Why = "", state: StateOption = None, config: ConfigFile = None) -> None:
    """Resolve alerts by hand until their condition has cleared.

    Examples:
      llmmon alerts resolve 3f2a --why 'known, fixed in the next release'
    """
    from llmmon.alerting.actions import resolve as resolve_by_hand

    with opened_state(config, state) as (store, found):
        for alert in resolve_by_hand(store, ids, _actor(found, why)):
            _said("resolved", alert)


@alerts.command()
def accept(ids: IncidentIds, why: Why = "", state: StateOption = None, config: ConfigFile = None) -> None:
    """Take the new level of incidents as the baseline: they are over.

    Examples:
      llmmon alerts accept 9895f6b --why 'new prompt, longer on purpose'
    """
    from llmmon.alerting.actions import accept as accept_levels
    from llmmon.text.figures import plain

    with opened_state(config, state) as (store, found):
        for text in accept_levels(store, ids, _actor(found, why)):
            typer.echo(plain(f"accepted: {text}"))


@alerts.command()
def silence(
    matchers: Annotated[
        list[str],
        typer.Argument(
            help="rule, severity, metric, a group field or label; * and ? are wildcards.", metavar="NAME=VALUE..."
        ),
    ],
    until: Annotated[str, typer.Option("--for", help="How long: 2h, 3d.", metavar="DURATION")] = "2h",
    start: Annotated[
        str | None,
        typer.Option("--start", help="When it begins: 2h (from now) or a time; default now.", metavar="TIME"),
    ] = None,
    why: Why = "",
    state: StateOption = None,
    config: ConfigFile = None,
) -> None:
    """Silence matching alerts for a while.

    Examples:
      llmmon alerts silence rule='High*' --for 2h --why deploy
      llmmon alerts silence severity=warning --for 30m
    """
    from llmmon.alerting.actions import add_silence, all_rules, check_matchers, covered
    from llmmon.text.times import duration_us, local

    pairs = [text.partition("=") for text in matchers]
    if bad := next((text for text, (name, sign, _) in zip(matchers, pairs, strict=True) if not sign or not name), None):
        raise UsageError(f"{bad!r} is not NAME=VALUE", hint="for example rule=slow, severity=warning or model='gpt-4*'")
    now_us = _now_us()
    with opened_state(config, state) as (store, found):
        wanted = {name: value for name, _, value in pairs}
        check_matchers(store, wanted, all_rules(found.active_rules, store))
        start_us = 0 if start is None else _start_us(start, now_us, found.timezone)
        end_us = (start_us or now_us) + duration_us(until)
        made = add_silence(store, wanted, end_us, why, now_us, start_us=start_us, by=_person())
        begins = f" from {local(start_us, found.timezone)}" if start_us else ""
        open_now = len(covered(store, wanted))
        typer.echo(
            f"silence {made.silence_id}{begins} until {local(made.until_us, found.timezone)} {found.timezone},"
            f" covers {open_now} open alert{'s' * (open_now != 1)} now"
        )


@alerts.command()
def unsilence(ids: Ids, state: StateOption = None, config: ConfigFile = None) -> None:
    """Remove silences.

    Examples:
      llmmon alerts unsilence 1b9c
    """
    from llmmon.alerting.actions import drop_silences

    with opened_state(config, state) as (store, _):
        for silence_id in drop_silences(store, ids):
            typer.echo(f"silence removed: {silence_id}")


def _start_us(text: str, now_us: int, tz: str) -> int:
    """A duration from now, or a time."""
    from llmmon.text.times import duration_us, moment_us

    try:
        return now_us + duration_us(text)
    except UsageError:
        return moment_us(text, now_us, tz)


def _actor(config: "Config", why: str) -> "Actor":
    """The person who types this, as one who acts on alerts."""
    from llmmon.alerting.actions import Actor

    return Actor(
        now_us=_now_us(), by=_person(), why=why, channels=config.channels, mutes=config.mutes, environment=os.environ
    )


def _person() -> str:
    """Who types this, as far as the system knows."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return f"uid {os.getuid()}"


def _now_us() -> int:
    return time.time_ns() // 1000


def _said(what: str, alert: "Alert") -> None:
    from llmmon.text.figures import plain

    typer.echo(plain(f"{what}: {alert.alert_id} {alert.title}"))
