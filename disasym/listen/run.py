"""The server: films come in and results go out in threads; this one analyses an examination after the other."""

import logging
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from pynetdicom import _config

from disasym.data.loaders import Loaders
from disasym.engines import Engine, load
from disasym.errors import DisasymError
from disasym.infer import InferOptions, default_model
from disasym.infer.lock import only_run
from disasym.infer.results import write_table
from disasym.infer.wanted import wanted
from disasym.listen.analyse import FOLDER, analyse, complete, results_of
from disasym.listen.book import Book, Entry
from disasym.listen.options import ListenOptions
from disasym.listen.receive import Address, Receiver
from disasym.listen.send import Sender, backoff
from disasym.listen.spool import Spool
from disasym.listen.waiting import WaitingRoom

INDEX = "index.csv"
MOST_CRASHES = 3  # analyses of one examination that end the whole program, before it is left alone
INDEX_EVERY = 10.0  # seconds
INDEX_SHARE = 0.05  # of the time, at most: the table of 100,000 examinations takes two seconds of a core
HOUSEKEEPING_EVERY = 60.0  # seconds between looks for films that may be removed
PATIENCE = 0.5  # seconds in which a stop is noticed

log = logging.getLogger("disasym.listen")


def listen(
    options: ListenOptions, stopping: Callable[[], bool], listening: Callable[[int], None] | None = None
) -> None:
    """Receive, analyse and send until `stopping()` is true; the examination in work is finished then.

    Args:
        listening: called with the port as soon as associations are taken.

    Raises:
        InputError: OUT cannot be written or another server has it, the port is taken, or what is to be written cannot
            be made with this model.
        EngineError, MissingExtraError, CheckpointError: see `engines.load`.
    """
    with ExitStack() as stack:
        destinations = options.destinations
        stack.enter_context(_pynetdicom_configured())
        tls = None if options.tls is None else (options.tls.server(), options.tls.client())
        model = options.model or default_model()
        engine = stack.enter_context(load(model, options.engine, options.device, options.threads, shared=True))
        loaders = stack.enter_context(Loaders())
        wanted(options.written, engine, model)
        stack.enter_context(only_run(options.out))
        book = Book(options.out)
        stack.callback(book.close)
        spool = Spool(options.spool or options.out / "spool", options.out / FOLDER)
        senders = [
            Sender(to, options.ae_title, options.out, book, None if tls is None else tls[1]) for to in destinations
        ]
        room = WaitingRoom(
            options.timeout, lambda exam: complete(spool.films(exam), options.include_processing), time.monotonic
        )
        work = _Work(options, engine, loaders, spool, book, room, senders)
        work.take_up()
        address = Address(options.ae_title, options.host, options.port, options.allow, None if tls is None else tls[0])
        for sender in senders:
            sender.start()
            stack.callback(sender.stop)
        receiver = Receiver(address, spool, room.arrived, room.closed)
        port = receiver.start()
        stack.callback(receiver.stop)
        log.info("%s listens on %s:%d, %d exams wait", options.ae_title, options.host, port, len(room))
        if listening is not None:
            listening(port)
        work.run(stopping)
        log.info("stopping: %d exams stay in the spool", len(room))
    log.info("stopped")


@contextmanager
def _pynetdicom_configured() -> Iterator[None]:
    """Files are sent as they are, and no library talks in this block: lines and warnings of theirs quote tags."""
    loggers = [logging.getLogger(name) for name in ("pynetdicom", "pydicom", "highdicom")]
    before = [logger.level for logger in loggers], _config.LOG_HANDLER_LEVEL, _config.STORE_SEND_CHUNKED_DATASET
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        _config.LOG_HANDLER_LEVEL, _config.STORE_SEND_CHUNKED_DATASET = "none", True
        try:
            yield
        finally:
            levels, _config.LOG_HANDLER_LEVEL, _config.STORE_SEND_CHUNKED_DATASET = before
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class _Work:
    """What the main thread does."""

    def __init__(
        self,
        options: ListenOptions,
        engine: Engine,
        loaders: Loaders,
        spool: Spool,
        book: Book,
        room: WaitingRoom,
        senders: list[Sender],
    ) -> None:
        self._options, self._engine, self._loaders, self._spool, self._book = options, engine, loaders, spool, book
        self._room, self._senders = room, senders
        self._index_next = self._house_at = 0.0
        self._index_old = True

    def take_up(self) -> None:
        """Let everything wait that came and was not analysed before the program ended."""
        for exam in self._spool.exams():
            state = self._spool.state(exam)
            if self._spool.films(exam) and self._book.analysed(exam) != state:
                self._room.arrived(exam)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Analyse what is ready, one after the other."""
        while not stopping():
            ready = self._room.next(PATIENCE)
            if ready is not None:
                self._one(*ready)
            self._keep_house()
        self._write_index()

    def _one(self, exam: str, since: float) -> None:
        """Analyse one examination. Whatever fails is tried again; nothing ends the server."""
        problem = ""
        try:
            self._analyse(exam)
        except DisasymError as error:
            problem = str(error).replace(f"{self._options.out}/", "")
        except (OSError, MemoryError, sqlite3.Error) as error:
            problem = f"{type(error).__name__} {getattr(error, 'strerror', None) or ''}".strip()
        except Exception as error:  # its text may quote a tag
            problem = f"unexpected {type(error).__name__}: please report this"
        self._index_old = True
        if not problem:
            self._room.done(exam, since)
            return
        self._room.again(exam, backoff)
        log.error("exam %s: not analysed, tried again: %s", exam, problem)
        try:
            self._book.put_off(exam, problem)
        except sqlite3.Error:
            log.error("exam %s: the record cannot be written either", exam)

    def _analyse(self, exam: str) -> None:
        """Results of `exam` and their place in the book, or nothing where the program has died of it too often."""
        state, films = self._spool.state(exam), self._spool.films(exam)
        if self._book.begin(exam, state) >= MOST_CRASHES:
            problem = f"the program ended {MOST_CRASHES} times while it was analysed: tried again when a film comes"
            self._book.give_up(exam, problem)
            log.error("exam %s: left alone: %s", exam, problem)
            return
        started = time.monotonic()
        outcome = analyse(self._engine, self._loaders, self._infer_options(exam), films)
        results = results_of(self._options.out, exam, self._options.destinations)
        self._book.finish(exam, outcome, results)
        for sender in self._senders:
            sender.wake()
        log.info(
            "exam %s: %d films, %d pairs scored, %d files failed in %.1f s; %d results to send",
            *(exam, outcome.films, outcome.pairs, outcome.failed, time.monotonic() - started, self._book.unsent(exam)),
        )

    def _infer_options(self, exam: str) -> InferOptions:
        told = self._options
        return InferOptions(
            source=self._spool.folder / exam,
            out=told.out / FOLDER / exam,
            model=told.model,
            workers=told.workers,
            write=told.written,
            include_processing=told.include_processing,
            quiet=True,
        )

    def _keep_house(self) -> None:
        """Write index.csv and remove films, now and then; what fails is done the next time."""
        now = time.monotonic()
        try:
            if self._index_old and now >= self._index_next:
                self._write_index()
            if self._options.keep_days is not None and now - self._house_at >= HOUSEKEEPING_EVERY:
                self._house_at = now
                self._remove_films(datetime.now(UTC) - timedelta(days=self._options.keep_days))
        except (DisasymError, OSError, sqlite3.Error) as error:
            log.error("the index or the spool cannot be kept in order: %s", type(error).__name__)

    def _write_index(self) -> None:
        began = time.monotonic()
        write_table(self._options.out / INDEX, Entry, self._book.entries())
        self._index_old = False
        took = time.monotonic() - began
        self._index_next = began + max(INDEX_EVERY, took / INDEX_SHARE)

    def _remove_films(self, before: datetime) -> None:
        for exam in self._book.finished_before(before):
            state = self._book.analysed(exam)
            if state is not None and self._spool.remove(exam, state):
                self._book.removed(exam)
                log.info("exam %s: its films were removed from the spool", exam)
