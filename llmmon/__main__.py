"""`llmmon`, also as `python -m llmmon`."""

import signal


def main() -> None:
    """Load and run the command line; while it loads, Ctrl-C ends the process as it does any other."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from llmmon.cli import main as run

    run()


if __name__ == "__main__":
    main()
