"""The race as tables: for each batch size the fastest first, what differs from eager last and without a merit."""

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from disasym.bench.contenders import REFERENCE
from disasym.bench.rows import Row
from disasym.bench.run import Report
from disasym.bench.stream import StreamRow

NONE = "–"


def show(report: Report, console: Console) -> None:
    """Print everything that was found."""
    for part in _parts(report):
        console.print(part)


def title(report: Report) -> str:
    """Model, machine and terms in one line."""
    common, machine = report.common, report.common["machine"]
    model = f"{common['preset']} {common['height']}×{common['width']}, model {common['model_sha256'][:12]}"
    where = ", ".join(gpu["name"] for gpu in machine["gpus"]) or machine["processor"] or "unknown processor"
    pairs = f"{common['input']['distinct']} {common['input']['source']} pairs"
    return f"{model} · {where}, {common['threads']} threads · {pairs}"


def _parts(report: Report) -> Iterator[RenderableType]:
    yield Text(title(report), "bold")
    if report.interrupted:
        yield Text("interrupted: what follows is what was measured until then", "yellow")
    if report.rows:
        yield from (Text(), _race(report.rows), Text(), _starts(report.rows))
    if report.streamed:
        yield from (Text(), _streams(report.streamed))
    if report.absent:
        yield from (Text(), _absent(report))


def _race(rows: tuple[Row, ...]) -> RenderableType:
    table = _table(
        "batch", "contender", "p50 ms", "p95", "p99", "pairs/s", "× eager", "peak MiB", "|Δ score|", "|Δ image|"
    )
    ordered = sorted(rows, key=lambda row: (row.batch, bool(row.differs), -row.pairs_per_second))
    for batch, group in groupby(ordered, key=lambda row: row.batch):
        for place, row in enumerate(group):
            table.add_row(
                str(batch) if place == 0 else "",
                Text(row.contender),
                number(row.p50_ms),
                number(row.p95_ms),
                number(row.p99_ms),
                number(row.pairs_per_second),
                merit(row),
                _mebibytes(row.gpu_bytes if row.device == "cuda" else row.peak_bytes),
                _delta(row.score_delta),
                _delta(row.image_delta),
                style="bold" if row.contender == REFERENCE else "red" if row.differs else "",
            )
        table.add_section()
    return table


def merit(row: Row) -> str:
    """How many times as fast as eager, with the middle half of the turns; never of what gives other results."""
    if row.contender == REFERENCE:
        return "1"
    if row.differs:
        return f"differs: {', '.join(row.differs)}"
    if row.times_eager is None or row.times_eager_p25 is None or row.times_eager_p75 is None:
        return NONE
    return f"{row.times_eager:.2f} ({row.times_eager_p25:.2f}–{row.times_eager_p75:.2f})"


def _starts(rows: tuple[Row, ...]) -> RenderableType:
    table = _table("", "start", "first s", "again s", "of that: process", "open", "one pair", "open MiB")
    for row in sorted({row.contender: row for row in rows}.values(), key=lambda row: row.start_again["seconds"]):
        again = row.start_again
        parts = [number(again[part]) for part in ("process", "open", "run")]
        seconds = (number(row.start_first["seconds"]), number(again["seconds"]))
        table.add_row("", Text(row.contender), *seconds, *parts, _mebibytes(row.open_bytes))
    return table


def _streams(rows: tuple[StreamRow, ...]) -> RenderableType:
    table = _table(
        "batch", "contender", "pairs", "exams/s", "pairs/s", "slowest", "fastest", "MiB first", "MiB last", ""
    )
    for row in sorted(rows, key=lambda row: -row.pairs_per_second):
        rates = [window.pairs_per_second for window in row.windows]
        table.add_row(
            str(row.batch),
            Text(row.contender),
            str(row.pairs),
            number(row.pairs_per_second / 2),
            number(row.pairs_per_second),
            number(min(rates)),
            number(max(rates)),
            _mebibytes(row.first_bytes),
            _mebibytes(row.last_bytes),
            Text(row.cut and f"cut: {row.cut}"),
        )
    return table


def _absent(report: Report) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in report.absent:
        table.add_row(Text(each.name, "dim"), Text(each.reason, "dim"))
    return Group(Text("Not run", "bold"), table)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 1 else "right", no_wrap=place != 1)
    return table


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _mebibytes(size: int | None) -> str:
    return NONE if size is None else f"{size / 2**20:.0f}"


def _delta(delta: float | None) -> str:
    return NONE if delta is None else f"{delta:.1e}"
