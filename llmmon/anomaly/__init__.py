"""Anomaly: series made of aggregates, detectors, incidents, and what contributed to each.

Other rooms use `analysis.find_anomalies`, or `panel.panel_of` with `detectors.detect` for aggregates of their own.
`detectors` is the family behind `--method`: one file a detector, one row of `DETECTORS`.
"""
