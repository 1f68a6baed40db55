"""Metrics: what one call is (`record`), many calls (`columns`), and statistics of them.

Two mergeable kinds of statistic and no more (`aggregates`); the METRICS table (`definitions`) says what can be
measured; `grouping` is `--by` and `--every`, `filters` is `--where`. `collector` is the library's way in.
"""
