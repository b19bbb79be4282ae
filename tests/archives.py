"""The other ends of the network in tests of `listen`: senders, receivers and a PACS, all on this machine."""

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context, evt

from disasym.listen import ListenOptions, listen
from disasym.listen.receive import Connection, Server

# pynetdicom drops a socket that could not be connected or shut down, and Python closes it, with a word of warning.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")

LISTEN = """
import os, sys
from pathlib import Path
from disasym.listen import ListenOptions, listen
out, send_to = Path(sys.argv[1]), tuple(sys.argv[2:])
listen(ListenOptions(out=out, port=0, timeout=1.0, threads=1, send_to=send_to), lambda: False,
       lambda port: print(port, flush=True))
"""


@dataclass
class Running:
    """A server in a thread of this process."""

    port: int
    out: Path


@contextmanager
def listening(out: Path, **changes: Any) -> Iterator[Running]:
    """A server in this process, stopped at the end; what it raised is raised here."""
    stop, ready = threading.Event(), threading.Event()
    ports: list[int] = []
    raised: list[BaseException] = []

    def told(port: int) -> None:
        ports.append(port)
        ready.set()

    def serve() -> None:
        try:
            options = ListenOptions(**{"out": out, "port": 0, "timeout": 0.5, "threads": 1, **changes})
            listen(options, stop.is_set, told)
        except BaseException as error:
            raised.append(error)
            ready.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ready.wait(60)
        if not raised:
            yield Running(ports[0], out)
    finally:
        stop.set()
        thread.join(60)
        gc.collect()  # so that what warns does it now, see UNCLOSED
    if raised:
        raise raised[0]


@contextmanager
def process(out: Path, *send_to: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port; killed at the end."""
    command = [sys.executable, "-c", LISTEN, str(out), *send_to]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server, int(server.stdout.readline())
    finally:
        server.send_signal(signal.SIGKILL)
        server.communicate()
        gc.collect()  # as in `listening`


def send(
    port: int,
    paths: Iterable[Path],
    calling: str = "PACS",
    called: str = "DISASYM",
    after: Callable[[int], None] | None = None,
) -> list[int | None]:
    """Store `paths` over one association; the status of each, None where none came. [] if it was refused.

    Args:
        after: called with the number of answers after each.
    """
    files = [dcmread(path) for path in paths]
    kinds = sorted({(str(file.SOPClassUID), str(file.file_meta.TransferSyntaxUID)) for file in files})
    association = _entity(calling).associate(
        "127.0.0.1", port, [build_context(*kind) for kind in kinds], ae_title=called
    )
    if not association.is_established:
        return []
    assert association.dul.socket is not None
    connection = association.dul.socket.socket
    answers: list[int | None] = []
    for file in files:
        try:
            status = association.send_c_store(file)
        except RuntimeError:
            break
        answers.append(int(status.Status) if "Status" in status else None)
        if after is not None:
            after(len(answers))
    association.release()
    if connection is not None:
        connection.close()  # pynetdicom forgets it where the server was killed
    return answers + [None] * (len(files) - len(answers))


def echo(port: int, calling: str = "PACS", called: str = "DISASYM") -> bool:
    """Whether C-ECHO is answered with success."""
    association = _entity(calling).associate("127.0.0.1", port, [build_context("1.2.840.10008.1.1")], ae_title=called)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool(status) and status.Status == 0


def _entity(calling: str) -> AE:
    entity = AE(ae_title=calling)
    entity.acse_timeout, entity.dimse_timeout = 20.0, 20.0  # a busy machine answers late
    return entity


@dataclass
class Archive:
    """A receiver of results: what it took, by SOPInstanceUID, and how often."""

    port: int
    status: int = 0  # what it answers
    taken: dict[str, list[bytes]] = field(default_factory=dict)


@contextmanager
def receiving(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Archive]:
    """A Storage SCP that takes everything."""
    from pynetdicom import StoragePresentationContexts

    archive = Archive(port)

    def store(event: Any) -> int:
        if archive.status == 0:
            uid = str(event.request.AffectedSOPInstanceUID)
            archive.taken.setdefault(uid, []).append(event.encoded_dataset())
        return archive.status

    entity = AE(ae_title="ARCHIVE")
    for context in StoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), ["1.2.840.10008.1.2.1"])
    handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, store)]
    server = entity.make_server(
        *(("127.0.0.1", port), "ARCHIVE"),
        evt_handlers=handlers,
        ssl_context=tls,
        server_class=Server,
        request_handler=Connection,
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    archive.port = server.server_address[1]
    try:
        yield archive
    finally:
        entity._servers.append(server)
        entity.shutdown()
        assert isinstance(server, Server)
        server.hang_up()
        thread.join(30)


@dataclass(frozen=True)
class Orthanc:
    """A PACS: its ports, and what its web interface answers."""

    dicom: int
    http: int

    def get(self, path: str) -> Any:
        return json.loads(self.raw(path))

    def raw(self, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content

    def upload(self, path: Path) -> str:
        """Put a file in; the name that Orthanc has for its study."""
        return str(json.loads(self.raw("/instances", path.read_bytes()))["ParentStudy"])

    def store(self, studies: list[str]) -> None:
        """C-STORE all films of `studies` to the modality "disasym"."""
        self.raw("/modalities/disasym/store", json.dumps(studies).encode())


@contextmanager
def orthanc(folder: Path, disasym_port: int, own_port: int, script: str = "") -> Iterator[Orthanc]:
    """Orthanc with a storage folder of its own, which knows a server of ours; `script` in Lua."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("Orthanc is absent: apt-get install orthanc")
    folder.mkdir(parents=True)
    http = free_port()
    told = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "HttpPort": http,
        "DicomPort": own_port,
        "DicomAet": "ORTHANC",
        "DicomModalities": {"disasym": ["DISASYM", "127.0.0.1", disasym_port]},
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "StableAge": 1,  # seconds
        "LuaScripts": [str(folder / "script.lua")],
    }
    (folder / "script.lua").write_text(script)
    (folder / "orthanc.json").write_text(json.dumps(told))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, folder / "orthanc.json"], stdout=log, stderr=log)
        try:
            pacs = Orthanc(own_port, http)
            until(lambda: answers(pacs), 30)
            yield pacs
        finally:
            server.terminate()
            server.wait(30)


def answers(pacs: Orthanc) -> bool:
    with contextlib.suppress(OSError):
        return bool(pacs.get("/system"))
    return False


def until(true: Callable[[], object], seconds: float = 90) -> None:
    """Wait for it; a test that waits in vain fails."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
