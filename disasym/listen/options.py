"""What `disasym listen` is told."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from disasym.errors import InputError
from disasym.infer.wanted import DICOM, WRITABLE
from disasym.listen.receive import LateHandshake
from disasym.listen.send import Destination, ae_title

SENT = ("panels", "html", "sr", "seg")  # what is written by default where results are sent


@dataclass(frozen=True)
class Tls:
    """Files in PEM. Both sides show a certificate of `ca`."""

    certificate: Path
    key: Path
    ca: Path

    def server(self) -> ssl.SSLContext:
        """For associations from others: TLS 1.2 or later, and no peer without a certificate (PS3.15 B.12)."""
        context = LateHandshake(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._filled(context)

    def client(self) -> ssl.SSLContext:
        """For associations to others; the certificate must name the host."""
        return self._filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _filled(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
            context.load_verify_locations(self.ca)
        except OSError as error:  # ssl.SSLError is one
            why = getattr(error, "reason", None) or error.strerror or type(error).__name__
            files = f"{self.certificate}, {self.key} and {self.ca}"
            raise InputError(f"{files}: no certificate, its key and an authority in PEM ({why})") from error
        return context


@dataclass(frozen=True)
class ListenOptions:
    """What the server is told; what is not here is as in `InferOptions`."""

    out: Path
    spool: Path | None = None  # None: OUT/spool
    host: str = "127.0.0.1"
    port: int = 11112  # 0: any that is free
    ae_title: str = "DISASYM"
    allow: tuple[str, ...] = ()  # calling AE titles; (): all
    timeout: float = 60.0  # seconds without a film after which an examination is analysed as it is
    send_to: tuple[str, ...] = ()  # AE@host:port
    keep_days: float | None = None  # days that films stay after their analysis; None: for ever
    tls: Tls | None = None
    model: Path | None = None
    engine: str = "auto"
    device: str = "cpu"
    workers: int | None = None
    threads: int | None = None
    write: tuple[str, ...] | None = None  # None: as `infer` writes, and sr and seg where results are sent
    include_processing: bool = False

    def __post_init__(self) -> None:
        for title in (self.ae_title, *self.allow):
            ae_title(title)
        if not 0 <= self.port <= 65535:
            raise InputError(f"port {self.port}: choose one from 1 to 65535")
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"timeout must be more than 0 seconds, got {self.timeout}")
        if self.keep_days is not None and not self.keep_days >= 0:
            raise InputError(f"keep_days must be 0 or more, got {self.keep_days}")
        unknown = [name for name in self.write or () if name not in WRITABLE]
        if unknown:
            raise InputError(f"cannot write {', '.join(unknown)}: choose from {', '.join(WRITABLE)}")
        if self.send_to and self.write is not None and not set(DICOM) & set(self.write):
            raise InputError(f"nothing to send: --send-to needs at least one of {', '.join(DICOM)} in --write")

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """The receivers of results, each once. InputError if one cannot be read."""
        return tuple(dict.fromkeys(map(Destination.read, self.send_to)))

    @property
    def written(self) -> tuple[str, ...] | None:
        """What an analysis is to write, for `InferOptions.write`."""
        return SENT if self.write is None and self.send_to else self.write
