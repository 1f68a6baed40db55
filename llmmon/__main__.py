"""`llmmon`, also as `python -m llmmon`."""

import atexit
import gc
import os
import signal
import sys
import threading

_GARBAGE_AFTER = 100_000  # new objects; the usual 700 would look through all that is being loaded again and again


def main() -> None:
    """Load and run the command line; while it loads, Ctrl-C ends the process as it does any other."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(_GARBAGE_AFTER)
    from llmmon.cli import main as run

    try:
        run()
    except SystemExit as ended:
        if isinstance(ended.code, int) and threading.active_count() == 1:
            _leave(ended.code)
        raise


def _leave(code: int) -> None:
    """End the process once all is written, without taking apart what it held: that takes as long as a small log."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # said where streams are closed in the usual way
    atexit._run_exitfuncs()  # noqa: SLF001 - as the interpreter would
    os._exit(code)


if __name__ == "__main__":
    main()
