"""How several workers (pytest-xdist) share the tests: which run side by side, and what is made once for all of them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Files whose tests look for a free port and open it a little later, when another one may have taken it.
PORTS = {
    "test_canaries.py",
    "test_listen.py",
    "test_listen_kill.py",
    "test_listen_orthanc.py",
    "test_listen_send.py",
    "test_listen_started.py",
    "test_ray.py",
    "test_reproduce.py",
    "test_several_processes.py",
}


def scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives files to workers whole and in order, so that fixtures of a module are made once; those of `PORTS` as one.

    `--dist loadgroup` does nothing: pytest-xdist 3.8 writes the group into a name that pytest 9.2 no longer reads.
    """
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "ports" if Path(file).name in PORTS else file

    config.option.loadscopereorder = False  # it would begin with the files of most tests, not with the slow ones
    return Files(config, log)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """What `make` writes at the path it is given, a file or a folder: by the first who asks; the others wait for it.

    It belongs to all tests of all workers: copy it before changing it.
    """
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers of this run
    place = folder / "shared" / name
    place.parent.mkdir(exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not place.exists():
            unfinished = factory.mktemp(name) / name
            make(unfinished)
            unfinished.rename(place)
    return place
