"""`python -m llmmon`."""

from llmmon.cli import main

if __name__ == "__main__":
    main()
