"""Failed checks (`--fail-on`, `rules check`) as SARIF 2.1.0, which code hosts show as findings."""

from __future__ import annotations

from typing import Any, Final

from llmmon import __version__
from llmmon.output.renderers import Page, Rendered
from llmmon.output.renderers.json import dumps
from llmmon.output.renderers.junit import no_checks
from llmmon.text.figures import plain

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ABOUT: Final = "https://github.com/llmmon/llmmon"


def render(page: Page) -> Rendered:
    """One result a failed check, at the first log; raises `UsageError` where nothing is checked."""
    if not page.checks:
        raise no_checks("sarif")
    rule = f"llmmon/{page.command.replace(' ', '-')}"
    place = page.source.files[0] if page.source.files else "llmmon.toml"
    made = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {**_DRIVER, "rules": [{"id": rule, "shortDescription": {"text": _what(page)}}]}},
                "results": [
                    {
                        "ruleId": rule,
                        "level": "error",
                        "message": {"text": plain(f"{check.name}: {check.message}" if check.message else check.name)},
                        "locations": [_location(place)],
                        "partialFingerprints": {"check/v1": plain(check.name)},
                    }
                    for check in page.checks
                    if check.failed
                ],
            }
        ],
    }
    return Rendered(dumps(made, indent=True) + "\n")


_DRIVER: Final = {"name": "llmmon", "version": __version__, "informationUri": _ABOUT}


def _what(page: Page) -> str:
    return f"llmmon {page.command}: a condition that must not hold"


def _location(file: str) -> dict[str, Any]:
    from urllib.parse import quote

    uri = quote(file if file != "-" else "stdin", safe="/", errors="replace")  # names need not be UTF-8
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}
