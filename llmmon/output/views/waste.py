"""What is shown of `cost --waste`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from llmmon.output.views import Column, Table, View
from llmmon.pricing.waste import Waste
from llmmon.reports.waste import WasteCall, WasteReport, WasteRow
from llmmon.text.figures import count, key_text, money_text, percent
from llmmon.text.times import iso, local

_MOST_GROUPS: Final = 20
_MOST_CALLS: Final = 20


def view_waste(report: WasteReport, tz: str) -> View:
    """Classes with their amounts, the groups they come from, what would avoid them, and what cannot be seen."""
    tables = [_classes(report)] if report.classes else []
    tables += [_groups(report)] if report.classes else []
    tables += [_shown(report, tz)] if report.shown_class is not None else []
    rows = [_flat(call) for call in report.shown] if report.shown_class is not None else list(_rows(report))
    return View(
        data={"waste": _data(report)},
        rows=rows,
        title=f"waste, cost by {report.price_table}",
        headline=_headline(report),
        tables=tuple(tables),
        notes=(
            *(f"{_name(row)}: {row.remedy}" for row in report.classes),
            *(f"blind spot: {text}" for text in report.blind_spots),
        ),
    )


def _name(row: WasteRow) -> str:
    return row.waste.value.replace("_", " ")


def _headline(report: WasteReport) -> tuple[tuple[str, str], ...]:
    share = "" if report.waste_share is None else f", {percent(report.waste_share)} of the cost"
    unknown = sum(row.unknown_calls for row in report.classes)
    return (
        ("cost", money_text(report.cost_usd, complete=report.complete)),
        (
            "waste",
            f"{money_text(report.waste_usd, complete=not unknown)}{share}" if report.waste_calls else "none found",
        ),
        ("calls", f"{count(report.waste_calls)} of {count(report.calls)}"),
    )


def _data(report: WasteReport) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    for row, found in zip(plain["classes"], report.classes, strict=True):
        row["example"] = None if found.example is None else _call_data(found.example)
    plain["shown"] = [_call_data(call) for call in report.shown] if report.shown_class is not None else None
    return plain


def _call_data(call: WasteCall) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(call)
    return {"time": iso(plain.pop("time_us")), **plain}


def _flat(call: WasteCall) -> dict[str, Any]:
    plain = _call_data(call)
    first = {name: plain.pop(name) for name in ("time", "file", "line")}
    return {**first, **plain.pop("key"), **plain}


def _rows(report: WasteReport) -> Any:
    for row in report.classes:
        for group in row.groups:
            plain: dict[str, Any] = msgspec.to_builtins(group)
            yield {"waste": row.waste.value, **plain.pop("key"), **plain}


def _classes(report: WasteReport) -> Table:
    columns = (
        *(Column("waste", right=False), Column("calls"), Column("amount"), Column("share")),
        *(Column("mostly from", right=False, rank=1), Column("such as", right=False, rank=2)),
    )
    rows = [
        (
            row.meaning,
            count(row.calls),
            money_text(row.amount_usd, complete=not row.unknown_calls),
            percent(row.share),
            key_text(row.groups[0].key),
            "" if row.example is None else _place(row.example.file, row.example.line),
        )
        for row in report.classes
    ]
    note = f"the calls of one: --show {report.classes[0].waste.value}" if report.shown_class is None else ""
    return Table("money that bought nothing", columns, tuple(rows), note)


def _groups(report: WasteReport) -> Table:
    columns = (
        *(Column("/".join(report.by), right=False), Column("waste", right=False), Column("calls")),
        *(Column("amount"), Column("of its cost", rank=1)),
    )
    found = [(row, group) for row in report.classes for group in row.groups]
    found.sort(key=lambda pair: -(pair[1].amount_usd or 0.0))
    rows = [
        (
            key_text(group.key),
            _name(row),
            count(group.calls),
            money_text(group.amount_usd),
            percent(group.share_of_group),
        )
        for row, group in found
    ]
    return Table("by " + ", ".join(report.by), columns, tuple(rows), most=_MOST_GROUPS)


def _place(file: str | None, line: int | None, folder: str = "") -> str:
    if file is None:
        return ""
    name = file.removeprefix(folder)
    return name if line is None else f"{name}:{line}"


def _folder(calls: Sequence[WasteCall]) -> str:
    """The folder that all the files are in, with the last slash."""
    files = {file for call in calls for file in (call.file, call.other_file) if file}
    folders = {file.rpartition("/")[0] for file in files}
    return f"{folders.pop()}/" if len(folders) == 1 and all("/" in file for file in files) else ""


def _shown(report: WasteReport, tz: str) -> Table:
    calls = report.shown
    folder = _folder(calls)
    columns = (
        *(Column("time", right=False, rank=2), Column("/".join(report.by), right=False), Column("amount")),
        *(Column("known by", right=False, rank=3), Column("where", right=False)),
        Column("other call", right=False, rank=1),
    )
    rows = [
        (
            "-" if call.time_us is None else local(call.time_us, tz),
            key_text(call.key),
            money_text(call.amount_usd),
            call.evidence.value,
            _place(call.file, call.line, folder),
            _place(call.other_file, call.other_line, folder),
        )
        for call in calls
    ]
    title = str(report.shown_class).replace("_", " ") + (f", in {folder}" if folder else "")
    return Table(title, columns, tuple(rows), most=_MOST_CALLS)


def figures_of(report: WasteReport) -> Mapping[str, float | None]:
    """What `--fail-on` may name: the whole, and what each class is of the cost."""
    classes = {f"{row.waste.value}_share": row.share for row in report.classes}
    none = {f"{waste.value}_share": 0.0 for waste in Waste}
    return {"waste_usd": report.waste_usd, "waste_share": report.waste_share, **none, **classes}
