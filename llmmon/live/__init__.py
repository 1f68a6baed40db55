"""Live: what keeps running. `watcher` is `watch`, `server` is the HTTP service."""
