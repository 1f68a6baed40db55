"""Exports: metrics for Prometheus and OpenTelemetry, calls as rows."""
