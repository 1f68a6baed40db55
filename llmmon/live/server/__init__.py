"""`serve`: posted records go to a durable log, which is read, evaluated and shown as any other log is.

One file per part: `intake` checks request bodies, `journal` writes the log, `follower` keeps figures up to date,
`service` runs the parts and evaluates the rules, `jobs` runs long work in child processes, `*_routes` are the
endpoints, `replies` their schemas, `auth` checks who asks, `settings` are the options, `app` puts all together.
`cli/serve.py` uses `app` and `settings`.
"""
