"""Detectors: a Series in, scores and anomalies out; all causal, all streaming and batch."""
