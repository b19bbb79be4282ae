"""Choose the tiles of tiles.csv: by measuring on a GPU, or, without one, by the plan of README.md.

    python -m disasym.kernels.tune            on a GPU: time every candidate, keep the fastest
    python -m disasym.kernels.tune --plan     anywhere: from the machine code alone

Rows that were not tried keep what they have. A candidate that spills, or does not fit, is never taken.
"""

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import torch
import triton
import triton.testing
from torch import Tensor

from disasym.errors import InputError
from disasym.kernels import op
from disasym.kernels.ahead_of_time import TYPES, MachineCode, Variant, faults, read
from disasym.kernels.tiles import ARCHITECTURES, DIMS, KERNELS, TABLE, Choice, Key, Tile, key_for, store, stored

# The whole list: rows (of both sides), columns, warps, stages by the width of the dtype.
CANDIDATES = {
    16: [Tile(*t) for t in itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3))],
    32: [Tile(*t) for t in itertools.product((16, 32, 64), (16, 32, 64), (4, 8), (1, 2))],
    64: [Tile(*t) for t in itertools.product((16, 32), (16, 32), (4,), (1,))],
}
PAIRS = {"short": (32, 32), "long": (32, 512)}  # batch and tokens that are timed: `small` and `paper`
HEADS = 8
SHORTEST = 25.0  # milliseconds of repeats for each candidate


def plan(keys: Iterable[Key], log: Callable[[str], None]) -> dict[Key, Choice]:
    """Choose by the machine code: without faults, two programs at once, then the largest tile, the most warps.

    Two programs, because one computes exponentials while the other multiplies; a large tile, because each number
    that is loaded then serves more products. Short sequences want 64 × 32, the 32 tokens of both sides of `small`.
    """
    chosen = {}
    with ProcessPoolExecutor() as pool:
        for key in keys:
            sound = _sound(key, CANDIDATES[key.bits], TYPES[key.bits][-1], False, pool)
            ranked = sorted(sound, key=lambda tile: _worth(key, tile, sound[tile]), reverse=True)
            best = next((tile for tile in ranked if _sound_throughout(key, tile, pool)), None)
            if best is None:
                raise InputError(f"no candidate for {key} is without faults: add one to CANDIDATES")
            log(f"{key}: {best}, of {len(sound)} sound candidates")
            chosen[key] = Choice(best, "plan")
    return chosen


def _sound(key: Key, tiles: Iterable[Tile], type_: str, even: bool, pool: Executor) -> dict[Tile, MachineCode]:
    """Those of the tiles that are without faults for one dtype, with or without masks."""
    variants = [Variant(key, type_, tile, even) for tile in tiles]
    codes = zip(variants, pool.map(_read, variants), strict=True)
    return {variant.tile: code for variant, code in codes if code and not faults(variant, code)}


def _sound_throughout(key: Key, tile: Tile, pool: Executor) -> bool:
    """Whether a tile is without faults for every dtype of its width, with and without masks."""
    return all(_sound(key, [tile], type_, even, pool) for type_ in TYPES[key.bits] for even in (True, False))


def _read(variant: Variant) -> MachineCode | None:
    try:
        return read(variant)
    except Exception:  # whatever the compiler says of a tile it cannot build, it is no candidate
        return None


def _worth(key: Key, tile: Tile, code: MachineCode) -> tuple[float, ...]:
    warps = code.warps(key.architecture, tile)
    if key.tokens == "short":
        return (min(tile.rows, 64) * min(tile.columns, 32), -tile.rows * tile.columns, warps, -tile.stages)
    return (warps // tile.warps >= 2, tile.rows * tile.columns, warps, tile.stages)


def tune(
    dtypes: Iterable[torch.dtype], dims: Iterable[int], seconds: float, log: Callable[[str], None]
) -> dict[Key, Choice]:
    """Time every candidate on the current GPU and return the fastest for each key, as far as `seconds` reach.

    Raises:
        InputError: there is no GPU, or nothing could be tried in that time.
    """
    if not torch.cuda.is_available():
        raise InputError("no CUDA device: tune on a machine with one, or choose by --plan")
    capability = torch.cuda.get_device_capability()
    where = f"measured: {torch.cuda.get_device_name()}, Triton {triton.__version__}, {datetime.now(UTC):%Y-%m-%d}"
    deadline = time.monotonic() + seconds
    chosen: dict[Key, Choice] = {}
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:  # CUDA forbids to fork
        for dtype, dim, tokens, kernel in itertools.product(dtypes, dims, ("long", "short"), KERNELS):
            batch, count = PAIRS[tokens]
            key = key_for(kernel, capability, dtype, dim, count)
            timed: dict[Tile, float] = {}
            for tile in _sound(key, CANDIDATES[key.bits], TYPES[key.bits][0], True, pool):
                if time.monotonic() > deadline:
                    log(f"time is up: {key} and what follows keep their tiles")
                    return _some(chosen, seconds)
                if (took := _milliseconds(kernel, dtype, dim, batch, count, tile)) is not None:
                    timed[tile] = took
            if not timed:
                log(f"{key}: this GPU runs no candidate; it keeps its tile")
                continue
            best = min(timed, key=lambda tile: timed[tile])
            before = stored()[key].tile
            log(f"{key}: {best} {timed[best]:.4f} ms; stored {before} {timed.get(before, float('nan')):.4f} ms")
            chosen[key] = Choice(best, where)
    return _some(chosen, seconds)


def _some(chosen: dict[Key, Choice], seconds: float) -> dict[Key, Choice]:
    if not chosen:
        raise InputError(f"nothing could be tried in {seconds} s: give it more")
    return chosen


def _milliseconds(kernel: str, dtype: torch.dtype, dim: int, batch: int, tokens: int, tile: Tile) -> float | None:
    """Median time of one kernel; None if the tile does not fit this GPU."""
    q, k, v = torch.randn(batch, 2, tokens, 3, HEADS, dim, device="cuda", dtype=dtype).unbind(3)
    grad = torch.randn(batch, 2, tokens, 2 * HEADS * dim, device="cuda", dtype=dtype)
    out, lse = op.attend(q, k, v, dim**-0.5)
    delta = torch.zeros_like(lse)
    try:
        median: float = triton.testing.do_bench(
            lambda: _launch(kernel, q, k, v, grad, out, lse, delta, tile), warmup=SHORTEST / 2, rep=SHORTEST,
            return_mode="median",
        )  # fmt: skip
    except Exception:  # as in `_read`: a tile that this GPU or compiler refuses is no candidate
        return None
    return median


def _launch(
    kernel: str, q: Tensor, k: Tensor, v: Tensor, grad: Tensor, out: Tensor, lse: Tensor, delta: Tensor, tile: Tile
) -> None:
    scale = q.shape[-1] ** -0.5
    if kernel == "forward":
        op.forward(q, k, v, scale, tile)
    elif kernel == "backward_queries":
        op.backward_queries(grad, q, k, v, out, lse, scale, tile)
    else:
        op.backward_keys(grad, q, k, v, lse, delta, scale, tile)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m disasym.kernels.tune", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="choose from the machine code, without a GPU")
    parser.add_argument("--seconds", type=float, default=300, help="stop measuring after this long (default: 300)")
    parser.add_argument("--out", type=Path, default=TABLE, help="where to write the table (default: the shipped one)")
    arguments = parser.parse_args()
    if arguments.plan:
        keys = [
            Key(kernel, architecture, bits, dim, tokens)
            for architecture, kernel, bits, dim, tokens in itertools.product(
                ARCHITECTURES, KERNELS, CANDIDATES, DIMS, ("short", "long")
            )
        ]
        store(plan(keys, print), arguments.out)
    else:
        dtypes = (torch.float16, torch.float32)  # bfloat16 takes float16's tiles
        store(stored() | tune(dtypes, (64, 32, 128), arguments.seconds, print), arguments.out)


if __name__ == "__main__":
    main()
