"""Regular expressions that are compiled when they are first used: a run needs few of those that a log may need."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class LazyPattern:
    """Stands for a compiled pattern, and becomes one at its first use."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self._source = pattern, flags

    @property
    def compiled(self) -> re.Pattern[Any]:
        """The pattern itself."""
        pattern, flags = self._source
        return re.compile(pattern, flags)  # which remembers it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self.compiled, name)
        setattr(self, name, value)
        return value


def lazy(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As `re.compile`, but later."""
    return cast("re.Pattern[AnyStr]", LazyPattern(pattern, flags))
