"""Checks (`--fail-on`, `rules check`) as JUnit XML, which CI systems show as tests."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from llmmon.errors import UsageError
from llmmon.output.renderers import Page, Rendered
from llmmon.text.figures import plain


def render(page: Page) -> Rendered:
    """One test a check; raises `UsageError` where there is none."""
    if not page.checks:
        raise no_checks("junit")
    name = _quoted(f"llmmon {page.command}")
    failed = sum(check.failed for check in page.checks)
    counts = f'tests="{len(page.checks)}" failures="{failed}" errors="0" skipped="0"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {counts}>", f"  <testsuite name={name} {counts}>"]
    for check in page.checks:
        case = f"    <testcase classname={name} name={_quoted(check.name)}"
        if check.failed:
            said = _quoted(check.message or f"{check.name} holds")
            lines += [f"{case}>", f"      <failure message={said}/>", "    </testcase>"]
        else:
            lines.append(f"{case}/>")
    return Rendered("\n".join([*lines, "  </testsuite>", "</testsuites>"]) + "\n")


def no_checks(form: str) -> UsageError:
    """The error for a command without anything to check."""
    hint = "give --fail-on, such as --fail-on 'error_rate>0.05'"
    return UsageError(f"-f {form} shows checks, and there are none", hint=hint)


def _quoted(text: str) -> str:
    return quoteattr(plain(text))
