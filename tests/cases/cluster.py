"""A Dask cluster on this machine for tests, also when the machine has much else to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 300  # seconds for what takes a fraction of one on an idle machine


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[Any]:
    """Processes of one thread each. Their scratch space is `folder`, which no other cluster tidies up."""
    dask = pytest.importorskip("dask", reason="Dask is not installed")
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    settings = {
        "distributed.comm.timeouts.connect": f"{PATIENCE}s",
        "distributed.comm.timeouts.tcp": f"{PATIENCE}s",
        "distributed.scheduler.worker-ttl": None,  # one that is silent is slow, not dead
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=str(folder),
        ) as running,
        distributed.Client(running, timeout=PATIENCE),
    ):
        yield running
