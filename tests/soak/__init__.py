"""Long runs with faults on purpose, compared with counts of their own."""
