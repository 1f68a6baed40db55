"""Pricing: what a call costs, and how sure that is.

`price_table` finds the price of a model at a date, `costs` turns usage into dollars, `audit` compares logged costs
with recalculated ones, `what_if` reprices calls as another model's.
"""
