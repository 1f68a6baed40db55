"""What recording a call costs a program: microseconds of processor and of the clock a call, beside nothing at all.

`python -m tests.benchmarks.recording [CALLS]`. The call itself does nothing, so the figures are the overhead alone.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from llmmon import JsonLinesWriter, LogHandler, MetricsCollector, recorded

ROUNDS: Final = 5
REPLY: Final = SimpleNamespace(
    model="gpt-4o",
    usage=SimpleNamespace(prompt_tokens=400, completion_tokens=90, total_tokens=490),
    choices=[SimpleNamespace(finish_reason="stop", message=SimpleNamespace(content="Yes."))],
)


def answer() -> SimpleNamespace:
    return REPLY


def ways(folder: Path) -> dict[str, Callable[[], object]]:
    """Name -> one call, recorded in that way."""
    collector = MetricsCollector()
    writer, durable = JsonLinesWriter(folder / "calls.jsonl"), JsonLinesWriter(folder / "durable.jsonl", durable=True)
    logger = logging.getLogger("benchmark")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(LogHandler(folder / "logged.jsonl"))

    def call(sink: MetricsCollector | JsonLinesWriter) -> Callable[[], object]:
        def one() -> None:
            with sink.call(model="gpt-4o", user="ann") as this:
                this.reply(answer())

        return one

    def logged() -> None:
        reply = answer()
        logger.info("answered", extra={"llm": {"model": reply.model, "latency_ms": 5, "prompt_tokens": 400}})

    return {
        "`collector.call`": call(collector),
        "`@recorded(collector)`": recorded(collector, model="gpt-4o")(answer),
        "`writer.call` (`JsonLinesWriter`)": call(writer),
        "`writer.call`, durable": call(durable),
        "`LogHandler`": logged,
    }


def measured(work: Callable[[], object], calls: int) -> tuple[float, float]:
    """Microseconds of processor and of the clock for each call: the least of the rounds."""
    cpu_us, clock_us = [], []
    for _ in range(ROUNDS):
        cpu, clock = time.process_time(), time.perf_counter()
        for _ in range(calls):
            work()
        cpu_us.append((time.process_time() - cpu) / calls * 1e6)
        clock_us.append((time.perf_counter() - clock) / calls * 1e6)
    return min(cpu_us), min(clock_us)


def main() -> None:
    """Print a table."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    nothing, _ = measured(answer, calls)
    sys.stdout.write("| way | processor, µs a call | by the clock, µs a call |\n|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        for name, work in ways(Path(folder)).items():
            cpu, clock = measured(work, calls // 20 if "durable" in name else calls)
            sys.stdout.write(f"| {name} | {cpu - nothing:.1f} | {clock - nothing:.1f} |\n")


if __name__ == "__main__":
    main()
