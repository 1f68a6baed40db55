"""`serve`: records that are posted go to a durable log, which is read, evaluated and shown as any other log is.

One file a part: `bodies` and `intake` take in, `writer` records, `follower` counts, `rounds` evaluates, `children`
runs the long looks, the `*_routes` answer, `gate` keeps others out, `app` puts them together, `running` runs it.
"""
