"""Alerting: rules, their evaluation, the lifecycle of alerts, their state between runs, and notifications.

`check.check` is one run: read new calls, evaluate rules, step alerts, queue and send notifications. `actions` changes
alerts, silences and added rules by hand; `suggest.backtest` and `rule_tests.run_tests` try rules without any state;
`manager.AlertManager` serves programs. `evaluation/` has one file a rule type, `notifiers/` one file a channel type.
"""
