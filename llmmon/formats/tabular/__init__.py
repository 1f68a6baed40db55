"""The fast path: lines that share one layout are read as a table by numpy, without a JSON parser."""
