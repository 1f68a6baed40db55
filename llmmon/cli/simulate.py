"""`llmmon simulate`."""

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder to write to, one file per day.", show_default=False)],
    days: Annotated[int, typer.Option(help="Days of traffic.", min=1, max=3650)] = 9,
    per_day: Annotated[int, typer.Option(help="Calls per working day.", min=1, max=10_000_000)] = 2000,
    quiet_days: Annotated[int, typer.Option(help="Days before the first incident.", min=0)] = 3,
    start: Annotated[str, typer.Option(help="First day.", metavar="DATE")] = "2026-03-02",
    seed: Annotated[int, typer.Option(help="The same seed gives the same logs.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write synthetic logs with labelled incidents (a fire drill).

    Examples:
      llmmon simulate drill/ --days 14
      llmmon simulate drill2/ --days 7 --seed 3
    """
    from llmmon.anomaly.simulation import DAY_S, jsonl, labels_toml
    from llmmon.anomaly.simulation import simulate as run
    from llmmon.cli.output import write_whole
    from llmmon.errors import InputError, UsageError, reason_of
    from llmmon.text.figures import counted
    from llmmon.text.times import moment_us

    start_s = moment_us(start, 0, "UTC") // 1_000_000
    paths = [folder / f"{_date(start_s + number * DAY_S)}.jsonl" for number in range(days)]
    labels = folder / "labels.toml"
    if there := [path for path in (*paths, labels) if path.exists() and not force]:
        raise UsageError(f"{there[0]} already exists", hint="name another folder, or replace its files with --force")
    incidents, calls = run(seed, start_s, days, per_day, quiet_days)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {reason_of(error)}") from None
    total = 0
    for path, records in zip(paths, calls, strict=True):
        write_whole(path, jsonl(records))
        total += len(records)
    write_whole(labels, labels_toml(incidents).encode())
    amount = f"{counted(total, 'call')} over {counted(days, 'day')}"
    typer.echo(f"wrote {amount} and {counted(len(incidents), 'labelled incident')} to {folder}")


def _date(seconds: int) -> str:
    from llmmon.text.times import local

    return local(seconds * 1_000_000, "UTC")[:10]
