"""The description is true: what it says can be sent is taken, what it says can come back does, and nothing else.

`LLMMON_EXAMPLES=200 pytest tests/live/server/test_openapi.py` looks longer.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from tests.support.server_process import served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

EXAMPLES = int(os.environ.get("LLMMON_EXAMPLES", "2"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with served(tmp_path_factory.mktemp("openapi")) as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        assert [line for line in server.said if "internal error" in line] == []


def test_every_endpoint_keeps_its_description(api: Any) -> None:
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) >= 15
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            _examine(operation, mode)


def _examine(operation: Any, mode: Any) -> None:
    # no schema says which times are to come, and which words are metrics, durations, conditions and matchers
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def examine(case: Any) -> None:
        beyond = "timestamp" in str(case.body) or case.path in {"/v1/rules", "/v1/silences"}
        case.call_and_validate(timeout=60, excluded_checks=[positive_data_acceptance] if beyond else [])

    with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parameters
        examine()
