"""Ingest: logs are found, read in spans, followed as they grow, cached and selected.

`query.read` is the one loader: it gives the calls of a query to folds. `follow` gives what was appended since a
checkpoint. What bytes mean is the room `formats`' business, what calls cost is `pricing`'s.
"""
