"""Anomaly: series made of aggregates, detectors that judge them, incidents, and what contributed to each.

`analysis.find_anomalies` is the way in; `detectors` is the family behind `--method`.
"""
