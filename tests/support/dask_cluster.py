"""A Dask cluster of two worker processes for the tests; prints its address, ends when stdin does."""

from __future__ import annotations

import sys

from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        print(cluster.scheduler_address.removeprefix("tcp://"), flush=True)  # noqa: T201 - its answer
        sys.stdin.read()
