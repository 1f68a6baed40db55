"""Metrics: what one call is (`record`), many calls (`columns`), and statistics of them.

There are two mergeable kinds of statistic and no more (`aggregates`). The METRICS table (`definitions`) holds what can
be measured; `grouping` is `--by` and `--every`, `filters` is `--where`. Other rooms make and evaluate aggregates with
`aggregation`; programs use `collector`.
"""
