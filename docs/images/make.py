"""Take the pictures of README again: `python docs/images/make.py` (needs chromium and tmux).

The report is that of `sample_logs/`; `watch` is captured with its colours while it shows simulated traffic that is cut
off in the middle of an incident.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LLMMON = [sys.executable, "-m", "llmmon"]
WIDTH, HEIGHT = 100, 26
CUT = "2026-03-06T10:50"  # within the error burst of the simulated traffic


def main() -> None:
    """Write `report.png` and `watch.svg` beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        take_report(Path(folder))
        take_watch(Path(folder))


def take_report(folder: Path) -> None:
    """Take a screenshot of the first screen of the report."""
    page = folder / "report.html"
    subprocess.run([*LLMMON, "report", "sample_logs/", "-q", "-o", str(page)], cwd=ROOT, check=True)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    picture = [f"--screenshot={HERE / 'report.png'}", "--window-size=1280,900", page.as_uri()]
    subprocess.run(["chromium", *options, *picture], check=True, capture_output=True)


def take_watch(folder: Path) -> None:
    """Draw one screen of `watch`, as tmux captured it, as SVG without references to fonts on the network."""
    options = ["--days", "5", "--per-day", "40000", "--seed", "3"]
    subprocess.run([*LLMMON, "simulate", str(folder / "logs"), *options], check=True, capture_output=True)
    last = folder / "logs" / f"{CUT[:10]}.jsonl"
    lines = last.read_text(encoding="utf-8").splitlines(keepends=True)
    last.write_text("".join(line for line in lines if json.loads(line)["timestamp"] < CUT), encoding="utf-8")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(_captured(folder)), end="")
    svg = console.export_svg(title="llmmon watch logs/")
    (HERE / "watch.svg").write_text(re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")


def _captured(folder: Path) -> str:
    tmux = ["tmux", "-L", f"pictures-{folder.name}", "-f", "/dev/null"]
    command = [*LLMMON, "watch", "logs", "--now", "log", "--window", "2h"]
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    subprocess.run([*tmux, "new-session", "-d", *size, "-c", str(folder), *command], check=True)
    try:
        time.sleep(15)  # its anomalies come from a process of their own
        done = subprocess.run([*tmux, "capture-pane", "-pe"], check=True, capture_output=True, text=True)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    return done.stdout.rstrip("\n")


if __name__ == "__main__":
    main()
