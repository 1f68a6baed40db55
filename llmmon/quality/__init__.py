"""Quality: scores of answers from their text alone, and a judge that asks a model.

`scorers` finds what is wrong with an answer, `scores` weighs it, `scoring` is the command's two readings of a log.
"""
