"""The Storage SCU: DICOM objects to a receiver of results, until it has them. One thread a receiver.

An object counts as sent when the receiver has answered with success or a warning, and the book says so. A program that
is killed between the two sends it again under the same SOPInstanceUID, which an archive takes for the same object.
"""

import logging
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from disasym.errors import InputError
from disasym.listen.book import Book, Result

FIRST_WAIT, LONGEST_WAIT = 5.0, 600.0  # seconds before another try; doubled from the one to the other
CONNECT, ANSWER = 10.0, 120.0  # seconds for a connection, and for an answer
_DESTINATION = re.compile(r"([^@\\]+)@(\[[0-9a-fA-F:.]+\]|[^:@\[\]]+):(\d{1,5})")

log = logging.getLogger("disasym.listen")


@dataclass(frozen=True)
class Destination:
    """A receiver of results."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"

    @classmethod
    def read(cls, text: str) -> "Destination":
        """AE@host:port, an IPv6 address in brackets. InputError if it is anything else."""
        match = _DESTINATION.fullmatch(text.strip())
        if match is None or not 1 <= int(match[3]) <= 65535:
            raise InputError(f"{text!r} names no receiver: write AE@host:port, as in ORTHANC@127.0.0.1:4242")
        return cls(ae_title(match[1]), match[2].strip("[]"), int(match[3]))


def ae_title(text: str) -> str:
    """An AE title without padding. InputError unless 1 to 16 printable ASCII characters, no backslash (PS3.5 6.2)."""
    title = text.strip()
    if not 1 <= len(title) <= 16 or not all(" " <= c <= "~" and c != "\\" for c in title):
        raise InputError(f"{text!r} is no AE title: 1 to 16 printable ASCII characters without backslash")
    return title


class Sender:
    """Sends what the book holds for one receiver, from `start` to `stop`."""

    def __init__(
        self, destination: Destination, calling: str, out: Path, book: Book, tls: ssl.SSLContext | None = None
    ) -> None:
        """`calling`: our own AE title. `out`: what the paths in the book are relative to."""
        self._destination, self._calling, self._out, self._book, self._tls = destination, calling, out, book, tls
        self._woken, self._stopping = Event(), False
        self._failures = 0
        self._thread = Thread(target=self._run, name=f"disasym-send-{destination.port}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something to send."""
        self._woken.set()

    def stop(self, patience: float = ANSWER) -> None:
        """Finish the object that is being sent; the others stay in the book."""
        self._stopping = True
        self._woken.set()
        self._thread.join(patience)

    def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                due = self._book.due(str(self._destination))
                reached = not due or self._send(due)
            except Exception as error:  # the record on a full disk, or a bug: neither may end the sending
                log.error("results for %s: %s, tried again", self._destination, type(error).__name__)
                reached = False
            if reached:
                self._failures = 0
                if not due:
                    self._woken.wait(FIRST_WAIT)
            else:
                self._failures += 1
                self._pause(backoff(self._failures))

    def _pause(self, seconds: float) -> None:
        """Wait although there is something to send; until `stop` at most."""
        waited = 0.0
        while waited < seconds and not self._stopping:
            self._woken.wait(min(1.0, seconds - waited))
            if not self._stopping:
                self._woken.clear()
            waited += 1.0

    def _send(self, due: list[Result]) -> bool:
        """Offer `due` over one association; False if the receiver could not be reached, or left."""
        contexts = [build_context(*kind) for kind in sorted({(result.sop_class, result.syntax) for result in due})]
        entity = AE(ae_title=self._calling)
        entity.connection_timeout, entity.acse_timeout = CONNECT, ANSWER
        entity.dimse_timeout, entity.network_timeout = ANSWER, ANSWER
        to = self._destination
        association = entity.associate(
            *(to.host, to.port, contexts, to.ae_title), tls_args=None if self._tls is None else (self._tls, to.host)
        )
        if not association.is_established:
            why = "refuses the association" if association.is_rejected else "cannot be reached"
            log.warning("%s %s: %d or more results wait, tried again", to, why, len(due))
            return False
        sent: dict[str, int] = {}
        try:
            for result in due:
                if self._stopping:
                    return True
                answer = self._offer(association, result)
                if answer is None:
                    log.warning("%s ended the association, or gave no answer: tried again", to)
                    return False
                sent[result.exam] = sent.get(result.exam, 0) + answer
        finally:
            association.release()
            for exam, count in sent.items():
                if count:
                    log.info("exam %s: %d results sent to %s", exam, count, to)
        return True

    def _offer(self, association: Association, result: Result) -> bool | None:
        """Send one object and note the answer; whether it was taken, None without an answer."""
        try:
            status = association.send_c_store(self._out / result.path)
        except OSError as error:
            return self._refused(result, f"the file cannot be read ({error.strerror or type(error).__name__})")
        except ValueError:  # no context of that class and syntax was accepted
            return self._refused(result, "objects of this class are not accepted")
        except RuntimeError:  # the association has ended
            return None
        return self._answered(result, status)

    def _answered(self, result: Result, status: Dataset) -> bool | None:
        if "Status" not in status:
            return None
        code = int(status.Status)
        if code == 0 or code & 0xF000 == 0xB000:  # success, or stored with a warning (PS3.4 table B.2-1)
            self._book.sent(result, f"0x{code:04X}")
            log.debug("instance %s sent to %s: 0x%04X", result.sop_uid, self._destination, code)
            return True
        return self._refused(result, f"0x{code:04X}")

    def _refused(self, result: Result, answer: str) -> bool:
        wait = backoff(self._book.tries(result) + 1)
        self._book.refused(result, answer, wait)
        log.warning("%s does not take instance %s: %s, tried again", self._destination, result.sop_uid, answer)
        return False


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(FIRST_WAIT * 2.0 ** min(failures - 1, 30), LONGEST_WAIT)
