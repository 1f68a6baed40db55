"""`llmmon notify`: list and test the notification channels."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmmon.cli.options import StateOption, opened_state
from llmmon.errors import ConfigError, DeliveryError, UsageError

if TYPE_CHECKING:
    from llmmon.alerting.notifiers import Channel, Notification
    from llmmon.config import Config


notify: Final = typer.Typer(
    name="notify",
    help="List and test notification channels; show the queue.\n\n"
    "Examples:\n  llmmon notify list\n  llmmon notify test oncall",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigFile = Annotated[str | None, typer.Option("--config", help="Configuration file.", metavar="FILE")]


@notify.command("test")
def prove(
    channel: Annotated[str, typer.Argument(help="The NAME of [notify.NAME] in the configuration.")],
    resolve: Annotated[bool, typer.Option(help="Also send the resolution, so that nothing stays open.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the messages; send nothing.")] = False,
    config: ConfigFile = None,
) -> None:
    """Send a test alert to a channel, then its resolution.

    Examples:
      llmmon notify test oncall
      llmmon notify test oncall --dry-run
    """
    from llmmon.alerting.delivery import build, deliver, make_test_notifications

    found = _channel(_load(config), channel)
    ends = make_test_notifications(time.time_ns() // 1000)[: 2 if resolve else 1]
    if dry_run:
        for one in ends:
            shown = deliver({found: [one]}, os.environ, dry_run=True)[channel][0]
            if not shown.text:
                raise ConfigError(shown.reason)
            typer.echo(shown.text)
        return
    build(found, os.environ)  # a missing secret is a configuration error, not a delivery error
    for number, one in enumerate(ends):
        _send(found, one, first=number == 0)


def _send(channel: "Channel", notification: "Notification", *, first: bool) -> None:
    from llmmon.alerting.delivery import deliver
    from llmmon.alerting.notifiers import NOTIFIERS
    from llmmon.text.figures import plain

    if not first:
        time.sleep(NOTIFIERS[channel.type].GAP_S)
    started = time.monotonic()
    result = deliver({channel: [notification]}, os.environ)[channel.name][0]
    took_ms = (time.monotonic() - started) * 1000
    what = "test alert" if notification.status == "firing" else "resolution"
    if not result.delivered:
        raise DeliveryError(
            f"channel {channel.name!r} ({channel.type}): the {what} was not sent: {result.reason}",
            hint=f"check [notify.{channel.name}]; --dry-run shows the message",
        )
    note = f" ({result.reason})" if result.reason else ""
    typer.echo(plain(f"{channel.name} ({channel.type}): {what} sent to {result.place} in {took_ms:,.0f} ms{note}"))


@notify.command()
def queue(
    action: Annotated[str, typer.Argument(help="list, retry or drop.", metavar="[ACTION]")] = "list",
    numbers: Annotated[
        list[str] | None, typer.Argument(help="With drop: numbers of notifications.", metavar="[NUMBER]...")
    ] = None,
    channel: Annotated[str, typer.Option("--channel", help="With drop: all of this channel.", metavar="NAME")] = "",
    output_format: Annotated[
        str | None, typer.Option("--format", "-f", help="table, json, jsonl, csv or markdown.", metavar="FORMAT")
    ] = None,
    state: StateOption = None,
    config: ConfigFile = None,
) -> None:
    """Show notifications that wait or failed; send or drop them.

    Examples:
      llmmon notify queue
      llmmon notify queue drop --channel oncall
    """
    from llmmon.alerting.actions import Actor, drop_queued, retry_queued
    from llmmon.cli.output import Output
    from llmmon.output.views.alerts import view_queue
    from llmmon.text.figures import counted, plain
    from llmmon.text.names import unknown

    if action not in {"list", "retry", "drop"}:
        raise UsageError(unknown("action", action, ("list", "retry", "drop")))
    output = Output.of(output_format, None, quiet=False)
    now_us = time.time_ns() // 1000
    with opened_state(config, state, output) as (store, found):
        if action == "list":
            from llmmon.ingest.report import SourceReport

            output.finish("notify queue", view_queue(store.outbox.listed(), found.timezone), SourceReport(), set())
            return
        if action == "drop":
            if not numbers and not channel:
                raise UsageError("drop needs the numbers of notifications, or --channel NAME")
            for one in drop_queued(store, numbers or [], channel, now_us):
                typer.echo(plain(f"dropped: {one.id} to {one.channel}, {one.alert.title}"))
            return
        actor = Actor(now_us=now_us, channels=found.channels, mutes=found.mutes, environment=os.environ)
        rows = retry_queued(store, actor)
    for row in rows:
        typer.echo(plain(f"{row.status}: {row.alert_id} to {row.channel}{': ' * bool(row.reason)}{row.reason}"))
    if not rows:
        typer.echo("nothing waits")
    if left := sum(row.status == "queued" for row in rows):
        raise DeliveryError(f"{counted(left, 'notification')} could not be sent")


@notify.command("list")
def list_channels(config: ConfigFile = None) -> None:
    """Show the configured channels and whether each is ready.

    Examples:
      llmmon notify list
    """
    from llmmon.text.figures import plain

    for row in _aligned(_rows(_load(config))):
        typer.echo(plain(row))


def _rows(config: "Config") -> list[tuple[str, ...]]:
    from llmmon.alerting.delivery import readiness
    from llmmon.alerting.notifiers import NOTIFIERS

    if not config.channels:
        typer.echo("no channel is configured: add [notify.NAME] with one of these types", err=True)
        known = ((kind, notifier.SETTINGS) for kind, notifier in NOTIFIERS.items())
        rows = [(kind, ", ".join(f"{k}*" if s.required else k for k, s in keys.items())) for kind, keys in known]
        return [("type", "keys (* must be there)"), *rows]
    head = ("channel", "type", "min severity", "ready")
    return [head, *((c.name, c.type, c.min_severity.value, readiness(c, os.environ)) for c in config.channels)]


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
    return ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]


def _load(chosen: str | None) -> "Config":
    from llmmon.config import load

    return load(chosen, os.environ, Path.cwd())


def _channel(config: "Config", name: str) -> "Channel":
    names = [channel.name for channel in config.channels]
    if name not in names:
        from llmmon.text.names import nearest

        where = f"{config.path} names no channel" if config.path else "there is no llmmon.toml"
        if not names:
            raise ConfigError(
                f"channel {name!r} is not configured: {where}",
                hint=f"add [notify.{name}] to llmmon.toml; `llmmon notify list` shows the types",
            )
        guess = nearest(name, names)
        raise ConfigError(
            f"channel {name!r} is not configured in {config.path}; there is {', '.join(names)}",
            hint=f"llmmon notify test {guess or names[0]}",
        )
    return config.channels[names.index(name)]
