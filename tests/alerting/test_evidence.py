"""What the calls of an alert show: top errors, requests with their place, and a command that lists them."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.support.appending_log import Service, at

ERRORS = """
logs = ["logs/*.jsonl"]
state = "state.db"
late = "0s"
name = "prod-eu"
labels = { service = "chat" }

[[rules]]
name = "errors"
metric = "error_rate"
threshold = 0.2
by = ["model"]
min_count = 3
runbook = "https://runbooks.example.com/{rule}"
dashboard = "https://grafana.example.com/d?model={model}&from={start_ms}"

[[rules]]
name = "slow"
metric = "latency_p95_ms"
threshold = 5000
where = "feature=chat"
min_count = 3

[notify.desk]
type = "command"
command = ["sh", "-c", "cat >> told.jsonl; echo >> told.jsonl"]
{more}
"""


@pytest.fixture
def service(run: Run, tmp_path: Path) -> Service:
    return Service(tmp_path, run, configuration=ERRORS)


def sent(service: Service) -> list[dict[str, Any]]:
    lines = (service.folder / "told.jsonl").read_text().splitlines()
    return [one for line in lines if line for one in json.loads(line)["alerts"]]


def failing(service: Service, minute: int, model: str, number: int, kind: str, message: str) -> None:
    for n in range(number):
        service.write(
            *(minute, minute + 1, 1000, model, 1),
            request_id=f"{model}-{kind}-{minute}-{n}",
            status="error",
            error_type=kind,
            error_message=message,
        )


def test_a_message_says_which_errors_and_which_requests_and_how_to_see_more(run: Run, service: Service) -> None:
    service.write(0, 10)
    service.check(10)
    failing(service, 10, 'gpt "4"*', 4, "rate_limit", "429 slow down")
    failing(service, 10, 'gpt "4"*', 1, "timeout", "no answer")
    failing(service, 10, "other", 1, "server_error", "not this one")
    service.write(10, 12)
    service.check(11)
    (found,) = [one for one in sent(service) if one["group"].get("model") == 'gpt "4"*']
    assert [("rate_limit", "429 slow down", 4), ("timeout", "no answer", 1)] == [
        (one["error_type"], one["message"], one["calls"]) for one in found["top_errors"]
    ]
    assert [(f'gpt "4"*-rate_limit-10-{n}', 41 + n) for n in range(3)] == [
        (one["request_id"], one["line"]) for one in found["examples"]
    ]
    lines = service.log.read_text().splitlines()
    for one in found["examples"]:
        assert service.log.samefile(service.folder / one["file"])
        assert one["request_id"] == json.loads(lines[one["line"] - 1])["request_id"]
    assert found["dashboard"].startswith("https://grafana.example.com/d?model=gpt%20%224%22%2A&from=")
    assert "https://runbooks.example.com/errors" == found["runbook"]
    assert {"service": "chat", "instance": "prod-eu"} == found["labels"]
    assert 'error rate of gpt "4"* is 100.0 %, limit 20 %, over 5 min, 5 calls' == found["description"]
    listed = run(*shlex.split(found["command"])[1:], "-f", "json")
    assert 5 == len(listed.json["data"]["requests"])


def test_the_slowest_requests_are_named_with_lines_behind_a_jump_into_the_log(service: Service) -> None:
    service.write(0, 4000, calls=1, feature="chat", padding="x" * 400)
    service.check(4000)
    for n, latency_ms in enumerate((6000, 9000, 7000, 8000)):
        service.write(4000, 4001, latency_ms, calls=1, feature="chat", request_id=f"slow-{n}")
    service.write(4000, 4001, 99000, calls=1, feature="other", request_id="not this one")
    service.write(4001, 4002, calls=1, feature="chat")
    service.check(4001)
    (found,) = sent(service)
    assert [("slow-1", 4002), ("slow-3", 4004), ("slow-2", 4003)] == [
        (one["request_id"], one["line"]) for one in found["examples"]
    ]
    assert "--sort latency_ms" in found["command"]


def test_a_dry_run_shows_it_too_and_a_log_that_is_gone_keeps_no_message_back(service: Service) -> None:
    service.write(0, 10)
    service.check(10)
    failing(service, 10, "a", 9, "timeout", "no answer")
    assert "no answer" in service.check(11, "--dry-run").stdout
    service.check(11)
    assert at(10) < sent(service)[0]["fired"] <= at(11)


def test_a_log_whose_name_is_no_utf8_is_evidence_too(service: Service) -> None:
    failing(service, 1, "m", 5, "RateLimitError", "slow down")
    logs = service.folder / "logs"
    (log,) = logs.iterdir()
    log.rename(os.fsdecode(os.fsencode(logs) + b"/caf\xe9.jsonl"))
    assert service.check(3).code == 1
    (alert,) = sent(service)
    assert alert["examples"][0]["file"].endswith("caf\\udce9.jsonl")
