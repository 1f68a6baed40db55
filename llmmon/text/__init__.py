"""Text: names with suggestions, times and durations, figures as people read them, TOML tables.

The ground floor of everything that is written or read by people: views, notifiers and the configuration share it.
"""
