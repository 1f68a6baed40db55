"""Output: views (what is shown of a report), renderers (how), exports (metrics and rows for other programs)."""
