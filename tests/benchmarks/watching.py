"""How much `llmmon watch` costs on a steady log, and whether it keeps up with a fast one.

    python tests/benchmarks/watching.py

A process of its own feeds a log while `llmmon watch` shows it in a pseudo terminal. Printed for each rate: the
processor time of the display as a share of one processor, its memory, and the lag: how long after they were
written lines are counted on the screen.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from datetime import UTC, datetime
from pathlib import Path

RATES = ((100, 30), (1000, 20), (20_000, 30))  # lines a second, seconds
_WARM_UP_S = 5.0
_STEP_S = 0.05
_READ = re.compile(r"([\d,.]+)( M)? lines read")
_MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4", "text-embedding-3-small")


def made_up(count: int) -> list[tuple[str, str]]:
    """Lines without their time: what stands before it, and after."""
    draw = random.Random(1)
    found = []
    for number in range(count):
        latency, failed = draw.lognormvariate(6.5, 0.7), draw.random() < 0.03
        rest = {
            "request_id": f"r{number}",
            "model": draw.choice(_MODELS),
            "latency_ms": latency,
            "time_to_first_token_ms": latency * 0.2,
            "prompt_tokens": draw.randint(50, 3000),
            "completion_tokens": draw.randint(5, 800),
            "user": f"user-{draw.randint(1, 1000)}",
            "feature": draw.choice(("chat", "search", "summarise")),
            "success": not failed,
            "error_type": draw.choice(("rate_limit", "timeout")) if failed else None,
        }
        found.append(('{"timestamp": "', '", ' + json.dumps(rest)[1:] + "\n"))
    return found


def feed(path: Path, rate: int, seconds: float) -> None:
    """Write lines at a rate; the number written so far goes to stdout, with the time."""
    lines = made_up(5000)
    started, written = time.time(), 0
    with path.open("a") as file:
        while (gone := time.time() - started) < seconds:
            due = int(gone * rate)
            stamp = datetime.now(UTC).isoformat()
            file.write("".join(stamp.join(lines[n % len(lines)]) for n in range(written, due)))
            file.flush()
            written = due
            print(time.time(), written, flush=True)
            time.sleep(_STEP_S)


class Display:
    """`llmmon watch` in a pseudo terminal of 80 by 24."""

    def __init__(self, path: Path) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-m", "llmmon", "watch", str(path), "--window", "5m"])
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.seen: list[tuple[float, int]] = []  # when so many lines were on the screen
        self._text = ""

    def look(self, seconds: float) -> None:
        """Read the screen for a while."""
        until = time.time() + seconds
        while (left := until - time.time()) > 0:
            if not select.select([self.terminal], [], [], left)[0]:
                return
            try:
                data = os.read(self.terminal, 65536)
            except OSError:  # it has ended
                return
            self._text = (self._text + data.decode("utf-8", "replace"))[-20_000:]
            if found := _READ.findall(self._text):
                number, millions = found[-1]
                count = int(float(number.replace(",", "")) * (1_000_000 if millions else 1))
                if not self.seen or self.seen[-1][1] != count:
                    self.seen.append((time.time(), count))

    def cpu_s(self) -> float:
        """Processor time so far, in seconds, with that of its ended children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Its largest resident size."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024

    def quit(self) -> None:
        os.write(self.terminal, b"q")
        self.look(0.5)
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


def lags(written: list[tuple[float, int]], seen: list[tuple[float, int]]) -> list[float]:
    """How old the newest line on the screen is, each time that it changes; in seconds."""
    found, at = [], 0
    for moment, count in seen:
        while at + 1 < len(written) and written[at + 1][1] <= count:
            at += 1
        behind = [when for when, number in written if number > count and when <= moment]
        found.append(moment - behind[0] if behind else 0.0)
    return found


def measure(rate: int, seconds: float) -> str:
    """One row of the result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.jsonl"
        path.touch()
        feeder = subprocess.Popen(
            [sys.executable, __file__, "feed", str(path), str(rate), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        display = Display(path)
        display.look(_WARM_UP_S)
        before, start = display.cpu_s(), time.time()
        display.look(seconds - _WARM_UP_S - 1)
        share = (display.cpu_s() - before) / (time.time() - start)
        written = [(float(a), int(b)) for a, b in (line.split() for line in feeder.communicate()[0].splitlines())]
        display.look(3)
        memory, last = display.memory_mb(), display.seen[-1][1]
        display.quit()
        late = lags(written, [one for one in display.seen if one[0] > start])
        rows = written[-1][1]
        return (
            f"{rows / seconds:10,.0f} {share:9.1%} {memory:8.0f} MB {max(late):8.2f} s"
            f"   {'all' if last >= rows * 0.99 else 'NOT ALL'} {rows:,} lines were shown"
        )


def main() -> None:
    """Every rate."""
    if sys.argv[1:2] == ["feed"]:
        feed(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
        return
    print("   lines/s processor   memory  longest lag")
    for rate, seconds in RATES:
        print(measure(rate, seconds), flush=True)


if __name__ == "__main__":
    main()
