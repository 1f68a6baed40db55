"""Log dialects: bytes -> calls. `DIALECTS` is the table; a new dialect is one file and one row.

What no dialect claims is home-made, and read by the names of its keys (`formats.aliases`).
"""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect
from llmmon.formats.native import METRIC_SAMPLES
from llmmon.formats.traces import AZURE_TRACE, MOONCAKE_TRACE

# most specific first: the first that claims an object reads it
DIALECTS: Final[dict[str, Dialect]] = {
    dialect.name: dialect for dialect in (METRIC_SAMPLES, AZURE_TRACE, MOONCAKE_TRACE)
}


def claimant(found: dict[str, Any], forced: str | None = None) -> Dialect | None:
    """The dialect that an object is of (`forced` if given), None for a home-made one."""
    if forced is not None:
        return DIALECTS.get(forced)
    return next((dialect for dialect in DIALECTS.values() if dialect.claims(found)), None)
