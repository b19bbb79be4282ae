"""The Storage SCP: associations in, films into the spool, through pynetdicom (PS3.4 annex B, PS3.7, PS3.8).

A film is answered with success only when the spool has it on the disk. Every other answer leaves it with the sender:
0xA700 the disk refuses or the program is stopping, 0xA900 it is another object than was said, 0xC000 it cannot be read.
"""

import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from socket import socket
from threading import Lock, Thread
from typing import Any, cast
from weakref import WeakSet

from pydicom import uid
from pydicom.uid import ExplicitVRBigEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from disasym.dicom.decode import DECODERS
from disasym.dicom.selection import IMAGE_CLASSES
from disasym.errors import ImageError, InputError
from disasym.listen.spool import MismatchError, Spool

SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000  # PS3.4 table B.2-1
SYNTAXES = [*DECODERS, ExplicitVRBigEndian]
MOST_ASSOCIATIONS = 10
LARGEST_PDU = 128 * 2**10  # bytes, what DCMTK sends at most
LARGEST_FILM = 2**30  # bytes of a data set, which is held in memory until it is written
GREETING = 15.0  # seconds for a peer that has connected to say what it wants
SILENCE = 60.0  # seconds after which an idle association is ended, and a half-sent message dropped

log = logging.getLogger("disasym.listen")


@dataclass(frozen=True)
class Address:
    """Where to listen, as whom, and for whom."""

    ae_title: str
    host: str
    port: int
    allow: tuple[str, ...] = ()  # calling AE titles; (): all
    tls: ssl.SSLContext | None = None


@dataclass
class _Count:
    """What one association brought."""

    began: float
    stored: int = 0
    refused: int = 0
    size: int = 0
    exams: set[str] = field(default_factory=set)


class Receiver:
    """Listens from `start` to `stop`."""

    def __init__(
        self, address: Address, spool: Spool, arrived: Callable[[str, int], None], closed: Callable[[int], None]
    ) -> None:
        """`arrived(exam, association)` is called for each new film, `closed(association)` when an association ends."""
        self._address, self._spool, self._arrived, self._closed = address, spool, arrived, closed
        self._counts: dict[int, _Count] = {}
        self._lock = Lock()
        self._stopping = False
        self._server: Server | None = None

    def start(self) -> int:
        """Begin to listen; the port, which the system chooses where `Address.port` is 0.

        Raises:
            InputError: the port is taken, or the host is none of this machine's.
        """
        entity = AE(ae_title=self._address.ae_title)
        entity.maximum_associations, entity.maximum_pdu_size = MOST_ASSOCIATIONS, LARGEST_PDU
        entity.network_timeout, entity.acse_timeout = SILENCE, GREETING
        entity.require_called_aet, entity.require_calling_aet = True, list(self._address.allow)
        entity.add_supported_context(Verification)
        for sop_class in sorted(IMAGE_CLASSES):
            entity.add_supported_context(sop_class, SYNTAXES)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_PDU_RECV, _bounded),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_CONN_CLOSE, self._on_closed),
        ]
        try:
            server = entity.make_server(
                (self._address.host, self._address.port),
                ssl_context=self._address.tls,
                evt_handlers=handlers,
                server_class=Server,
                request_handler=Connection,
            )
        except OSError as error:
            where = f"{self._address.host}:{self._address.port}"
            raise InputError(f"cannot listen on {where} ({error.strerror or error}): name another --port") from error
        entity._servers.append(server)  # as AE.start_server does, which takes no request handler
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="disasym-listen", daemon=True).start()
        self._server = cast(Server, server)
        return int(server.server_address[1])

    def stop(self) -> None:
        """Take no more films: what is being sent stays with its sender."""
        self._stopping = True
        if self._server is not None:
            self._server.ae.shutdown()
            self._server.hang_up()

    def _on_accepted(self, event: Event) -> None:
        with self._lock:
            self._counts[id(event.assoc)] = _Count(time.monotonic())

    def _on_rejected(self, event: Event) -> None:
        request = event.assoc.requestor.primitive
        calling = _shown(event.assoc.requestor.ae_title)
        called = _shown(None if request is None else request.called_ae_title)
        if self._address.allow and calling not in self._address.allow:
            why = "its AE title is not among those that --allow names"
        elif called != self._address.ae_title:
            why = f"it called {called}, and this is {self._address.ae_title}"
        else:
            why = f"{MOST_ASSOCIATIONS} associations are open"
        log.warning("association of %s refused: %s", _peer(event.assoc), why)

    def _on_store(self, event: Event) -> int:
        """One film; its status. Nothing that is raised here may reach the sender as success, or end the server."""
        request = cast(C_STORE, event.request)
        with self._lock:
            count = self._counts.setdefault(id(event.assoc), _Count(time.monotonic()))
        status, size = OUT_OF_RESOURCES, 0
        try:
            if self._stopping:
                return OUT_OF_RESOURCES
            parts = [b"\0" * 128, b"DICM", encode_file_meta(event.file_meta), event.encoded_dataset(include_meta=False)]
            size = len(parts[-1])
            exam, new = self._spool.store(parts, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
            if new:
                self._arrived(exam, id(event.assoc))
            count.exams.add(exam)
            status = SUCCESS
            log.debug("stored %s of exam %s%s", _uid(request), exam, "" if new else ", which was there")
        except MismatchError as error:
            status = MISMATCH
            log.warning("%s refused: %s", _uid(request), error)
        except ImageError as error:
            status = CANNOT_UNDERSTAND
            log.warning("%s refused: %s", _uid(request), _without_path(error))
        except (OSError, MemoryError) as error:
            log.warning("%s stays with its sender: %s", _uid(request), _reason(error))
        except Exception as error:  # a bug costs one film, which stays with its sender; its text may quote a tag
            log.error(
                "%s stays with its sender: unexpected %s, please report this", _uid(request), type(error).__name__
            )
        finally:
            count.stored += status == SUCCESS
            count.refused += status != SUCCESS
            count.size += size
        return status

    def _on_closed(self, event: Event) -> None:
        with self._lock:
            count = self._counts.pop(id(event.assoc), None)
        self._closed(id(event.assoc))
        if count is not None and (count.stored or count.refused):
            log.info(
                "association of %s: %d films taken, %d refused, %.1f MB in %.1f s; exams %s",
                *(_peer(event.assoc), count.stored, count.refused, count.size / 1e6, time.monotonic() - count.began),
                ", ".join(sorted(count.exams)) or "none",
            )


class Server(ThreadedAssociationServer):
    """Knows its connections, so that it can end those that never became an association."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.connections: WeakSet[socket] = WeakSet()
        super().__init__(*arguments, **options)

    def hang_up(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.close()


class Connection(RequestHandler):
    """Waits for half-sent messages, but not for ever: a peer that fell silent would keep its thread."""

    def setup(self) -> None:
        self.request.settimeout(SILENCE)
        cast(Server, self.server).connections.add(self.request)


class LateHandshake(ssl.SSLContext):
    """Shakes hands in the thread of the association, so that a peer that says nothing does not stop all others."""

    def wrap_socket(self, sock: socket, server_side: bool = False, *rest: Any, **options: Any) -> ssl.SSLSocket:
        """As `SSLContext.wrap_socket`; the handshake is part of the first read."""
        return super().wrap_socket(sock, server_side, False, *rest, **options)


def _bounded(event: Event) -> None:
    """End an association whose data set grows beyond all films."""
    message = event.assoc.dimse.message
    if message is not None and message.data_set is not None and message.data_set.tell() > LARGEST_FILM:
        log.warning("association of %s ended: a data set of more than %d bytes", _peer(event.assoc), LARGEST_FILM)
        event.assoc.abort()


def _peer(association: Association) -> str:
    """The calling AE title and address."""
    requestor = association.requestor
    return f"{_shown(requestor.ae_title)} at {requestor.address}"


def _shown(title: str | None) -> str:
    return "".join(c if c.isprintable() else "?" for c in (title or "").strip())


def _uid(request: C_STORE) -> str:
    """The SOPInstanceUID that the sender says."""
    said = str(request.AffectedSOPInstanceUID)
    return f"instance {said}" if uid.UID(said).is_valid else "an instance"


def _without_path(error: ImageError) -> str:
    """Its text without the name of the file that was being written."""
    return str(error).partition(".dcm: ")[2] or str(error)


def _reason(error: OSError | MemoryError) -> str:
    if isinstance(error, OSError):
        return f"it cannot be written ({error.strerror or type(error).__name__})"
    return "no memory"
