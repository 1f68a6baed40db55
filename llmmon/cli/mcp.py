"""`llmmon mcp`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query

AllowText = Annotated[bool, typer.Option("--allow-text", help="Let the assistant read prompts and outputs.")]
MostChars = Annotated[int, typer.Option(help="Longest answer, in characters.", min=1000, metavar="N")]


def _mcp(
    query: "Query",
    output: "Output",
    config: "Config",
    allow_text: AllowText = False,
    max_chars: MostChars = 20_000,
) -> int:
    """Offer the logs to a coding assistant as tools (MCP over stdio).

    The tools only read, and only these logs. An assistant starts this command itself.

    Examples:
      llmmon mcp sample_logs/
      llmmon mcp sample_logs/ --root sample_logs/
    """
    import msgspec

    from llmmon.live.mcp import Reach, serve

    alone = msgspec.structs.replace(query, jobs=query.jobs or 1, progress=None)  # beside threads, no forks
    serve(Reach(alone, config, allow_text=allow_text, most_chars=max_chars))
    output.say("the assistant left")
    return 0


mcp = with_logs(_mcp, without=frozenset({"engine", "rejects", "format", "output_file", "force"}))
mcp.__name__ = "mcp"
