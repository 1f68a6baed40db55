"""`export --push`: metrics to a Pushgateway, which Prometheus scrapes."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

from llmmon.http_client import Client, Request, check_url

_GROUP = "/metrics/job/llmmon"


def push(url: str, text: str) -> None:
    """Replace the group of metrics at an address; raises `DeliveryError`, `UsageError` for an address that is none."""
    check_url(url)
    parts = urlsplit(url)
    if "/metrics/job" not in parts.path:
        url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + _GROUP))
    headers = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
    request = Request(url=url, method="PUT", body=text.encode(), headers=headers)

    async def sent() -> None:
        async with Client() as client:
            await client.send(request)

    asyncio.run(sent())
