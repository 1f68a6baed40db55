"""Alerting: rules, their evaluation, the life of an alert, its durable state, and its delivery.

`lifecycle.step` decides and sends nothing; `check` is one run; `outbox` and `delivery` send what was decided;
`evaluation` has one file a rule type and `notifiers` one file a channel.
"""
