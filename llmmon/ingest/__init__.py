"""Ingest: find logs, read them in spans, follow them as they grow, cache and select their calls.

Other rooms use `query` (a `Query` and `read`, which gives its calls to folds), `follow` (calls since a checkpoint),
`report` (the accounting of what was read) and `parallel` (child processes). `formats` knows what bytes mean, `pricing`
what calls cost.
"""
