"""`llmmon rules`: lint, test, backtest, tune and export the alert rules."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmmon.cli.options import active_rules, with_logs
from llmmon.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from llmmon.alerting.lint import Finding
    from llmmon.alerting.rules import AlertRule
    from llmmon.alerting.suggest import ReadHistory
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query
    from llmmon.metrics.filters import Check


rules: Final = typer.Typer(
    name="rules",
    help="Lint, test, backtest and tune the alert rules.\n\n"
    "Examples:\n  llmmon rules check sample_logs/\n  llmmon rules backtest sample_logs/",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RulesFile = Annotated[
    Path | None,
    typer.Option("--rules", help="Use the rules of this file instead of the configuration's.", metavar="FILE"),
]

Labels = Annotated[
    Path | None, typer.Option(help="Labelled incidents. Default: labels.toml next to the logs.", metavar="FILE")
]


def _check(
    query: "Query",
    output: "Output",
    config: "Config",
    rules_file: RulesFile = None,
    step: Annotated[str, typer.Option(help="Time between two runs of `check`.", metavar="DURATION")] = "5m",
) -> int:
    """Lint the rules; find those that never or always hold in logs.

    Without LOGS those of the configuration are read, if there are any yet.

    Examples:
      llmmon rules check
      llmmon rules check sample_logs/
    """
    from llmmon.alerting.lint import lint
    from llmmon.ingest.report import SourceReport
    from llmmon.output.views.rules import view_lint
    from llmmon.text.times import duration_us

    config = _config(config, rules_file)
    chosen = active_rules(config, output)
    found = lint(chosen, config.channels, duration_us(step, plain="m"))
    source, codes = SourceReport(), {EXIT_OK}
    done = _read_if_there(query, config, chosen)
    if done is not None:
        from llmmon.alerting.lint import DURATIONS, lint_durations, lint_evaluations

        found += lint_evaluations(done.evaluations(chosen))
        found += lint_durations(done.histories[DURATIONS], config.late_us)
        source, codes = done.source, {done.exit_code}
    view = view_lint(chosen, config.channels, found)
    return output.finish("rules check", view, source, codes, _checks(chosen, found))


def _checks(rules: "tuple[AlertRule, ...]", found: "list[Finding]") -> "tuple[Check, ...]":
    """A check for each finding, and for each rule without one."""
    from llmmon.metrics.filters import Check

    failed = [Check(f"{one.about}: {one.code}", True, f"{one.message}: {one.reason}") for one in found]
    doubtful = {one.about for one in found}
    return (*failed, *(Check(rule.name, False) for rule in rules if rule.name not in doubtful))


def _read_if_there(query: "Query", config: "Config", rules: "tuple[AlertRule, ...]") -> "ReadHistory | None":
    """The history of the logs that were named, or of the configured ones; None where there are none yet."""
    import msgspec

    from llmmon.alerting.lint import DURATIONS
    from llmmon.alerting.suggest import read_for
    from llmmon.errors import InputError

    if query.logs:
        return read_for(query, rules, [DURATIONS])
    if not config.logs:
        return None
    try:
        return read_for(msgspec.structs.replace(query, logs=config.logs), rules, [DURATIONS])
    except InputError as error:
        query.say(f"{error}: only the rules themselves are checked")
        return None


rules.command("check")(with_logs(_check, optional=True))


@rules.command("test")
def prove(
    file: Annotated[
        Path | None, typer.Argument(help="Configuration with rules and their [[tests]].", metavar="[FILE]")
    ] = None,
    output_format: Annotated[
        str | None,
        typer.Option("--format", "-f", help="table, json, jsonl, csv, markdown, junit or sarif.", metavar="FORMAT"),
    ] = None,
    output_file: Annotated[
        str | None, typer.Option("-o", "--output", help="Write to this file.", metavar="FILE")
    ] = None,
    config: Annotated[str | None, typer.Option("--config", help="Configuration file.", metavar="FILE")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress or notes on stderr.")] = False,
) -> None:
    """Run the `[[tests]]` of the rules and show the differences.

    Examples:
      llmmon rules test
    """
    from llmmon.alerting.rule_tests import run_tests
    from llmmon.cli.options import load_config
    from llmmon.cli.output import Output
    from llmmon.ingest.report import SourceReport
    from llmmon.output.views.rules import checks_of_tests, view_tests

    output = Output.of(output_format, output_file, quiet=quiet)
    found = load_config(str(file) if file is not None else config, output)
    if not found.tests:
        where = f"{found.path} has no [[tests]]" if found.path else "there is no llmmon.toml"
        raise ConfigError(f"nothing to test: {where}", hint="`llmmon rules test` in the README shows one")
    how = found.query((), time.time_ns() // 1000)
    results = run_tests(found.tests, active_rules(found, output), how, found.path.parent if found.path else Path())
    checks = checks_of_tests(results)
    raise typer.Exit(output.finish("rules test", view_tests(results), SourceReport(), set(), found=checks))


def _backtest(
    query: "Query",
    output: "Output",
    config: "Config",
    rules_file: RulesFile = None,
    labels: Labels = None,
) -> int:
    """Replay the rules over past logs.

    Shows when they would have fired, who would have been notified, and which incidents they missed.

    Examples:
      llmmon rules backtest sample_logs/
      llmmon rules backtest sample_logs/ --since 2026-03-05
    """
    from llmmon.alerting.suggest import backtest
    from llmmon.output.views.backtest import view_backtest

    config = _config(config, rules_file)
    rules = active_rules(config, output)
    found = backtest(query, rules, config.channels, labels, identity=config.identity, mutes=config.mutes)
    return output.finish(
        "rules backtest", view_backtest(found.report, query.tz), found.done.source, {found.done.exit_code}
    )


rules.command("backtest")(with_logs(_backtest))


def _suggest(
    query: "Query",
    output: "Output",
    config: "Config",
    budget: Annotated[
        str, typer.Option(help="Acceptable number of notifications, such as 1/day.", metavar="N/PERIOD")
    ] = "2/week",
    rules_file: RulesFile = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule; repeatable.", metavar="NAME")] = None,
    labels: Labels = None,
    first: Annotated[float, typer.Option(help="Share of the time used for tuning.", min=0.1, max=0.95)] = 0.7,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write the proposed rules to this file as TOML.", metavar="FILE")
    ] = None,
) -> int:
    """Propose threshold, for and min_count for a noise budget.

    Tunes on the first part of the logs and checks the result on the rest.

    Examples:
      llmmon rules suggest sample_logs/
      llmmon rules suggest sample_logs/ --budget 2/week
    """
    from llmmon.alerting.suggest import noise_budget, suggestions
    from llmmon.cli.output import write_whole
    from llmmon.output.views.rules import toml_of, view_suggestions
    from llmmon.text.names import lookup

    bearable = noise_budget(budget)
    known = {one.name: one for one in active_rules(_config(config, rules_file), output)}
    chosen = tuple(lookup(known, name, "rule") for name in rule or known)
    report, done = suggestions(query, chosen, bearable, labels, first)
    if write is not None:
        write_whole(write, toml_of(report).encode())
        output.say(f"wrote {write}")
    code = output.finish("rules suggest", view_suggestions(report, query.tz), done.source, {done.exit_code})
    if output.file is None and output.format == "table":
        output.write(f"\n{toml_of(report)}")
    return code


rules.command("suggest")(with_logs(_suggest))


@rules.command("export")
def export(
    to: Annotated[str, typer.Option(help="prometheus.", metavar="FORMAT")] = "prometheus",
    rules_file: RulesFile = None,
    output_file: Annotated[
        str | None, typer.Option("-o", "--output", help="Write to this file.", metavar="FILE")
    ] = None,
    config: Annotated[str | None, typer.Option("--config", help="Configuration file.", metavar="FILE")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress or notes on stderr.")] = False,
) -> None:
    """Write the rules as a rule file of Prometheus.

    For the metrics of `llmmon export --cumulative`; rules that need more are named and left out.

    Examples:
      llmmon rules export
      llmmon rules export -o llmmon.rules.yml
    """
    from llmmon.cli.options import load_config
    from llmmon.cli.output import Output
    from llmmon.output.export.promql import rule_file
    from llmmon.text.names import lookup

    lookup({"prometheus": rule_file}, to, "format")
    output = Output.of("table", output_file, quiet=quiet)
    text, left = rule_file(active_rules(_config(load_config(config, output), rules_file), output))
    for one in left:
        output.say(f"left out: {one.rule}: {one.reason}")
    output.write(text, durable=True)
    raise typer.Exit(EXIT_OK)


def _config(config: "Config", file: Path | None) -> "Config":
    """The configuration, with the rules and tests of another file where one is named."""
    if file is None:
        return config
    from llmmon.config import load

    return load(str(file), os.environ, Path.cwd())
