"""Where a graph changes its precision: the placement of nodes with the fewest Casts, found as a minimum cut.

A tensor costs one Cast if its producer and any of its consumers differ in precision. With x = 1 for a node in float32,
that cost is max(x over all) − x_producer + x_producer − min(x over all): two auxiliary vertices a tensor, and every
term is an edge (Picard and Ratliff 1975: minimum cuts and quadratic 0–1 functions). Constants cost nothing: they are
stored in the precision that reads them.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

Kind = Literal["heavy", "pointwise", "movement", "float"]

FORBIDDEN = 2**30
CAST = 2**16  # one Cast weighs more than all the ties below it
POINTWISE_IN_HALF = 2**5  # of placements with equally many Casts: pointwise nodes in float32 …
MOVEMENT_IN_FLOAT = 1  # … then data movement in half, which moves half the bytes


@dataclass(frozen=True)
class Node:
    """A node as `place` sees it: names of the floating-point tensors that it reads and writes."""

    name: str
    kind: Kind
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def place(nodes: Sequence[Node], inputs: Collection[str], outputs: Collection[str]) -> frozenset[str]:
    """The names of the nodes that compute in float32; the graph's inputs and outputs are float32.

    Of all placements with the fewest Casts, the one with the most pointwise nodes in float32, then the fewest
    movement nodes. Deterministic.
    """
    index = {"float32": 0, "half": 1}
    edges: dict[tuple[int, int], int] = {}
    for start, end, weight in _edges(nodes, inputs, outputs):
        key = index.setdefault(start, len(index)), index.setdefault(end, len(index))
        edges[key] = min(edges.get(key, 0) + weight, FORBIDDEN)
    side = _source_side(len(index), edges)
    return frozenset(node.name for node in nodes if side[index[f"node {node.name}"]])


def _edges(nodes: Sequence[Node], inputs: Collection[str], outputs: Collection[str]) -> Iterator[tuple[str, str, int]]:
    """Edges u → v with what it costs that u is on the float32 side and v on the half side."""
    producer = dict.fromkeys(inputs, "float32")
    consumers: dict[str, list[str]] = {name: ["float32"] for name in outputs}
    for node in nodes:
        vertex = f"node {node.name}"
        yield "float32", vertex, {"float": FORBIDDEN, "pointwise": POINTWISE_IN_HALF}.get(node.kind, 0)
        yield vertex, "half", {"heavy": FORBIDDEN, "movement": MOVEMENT_IN_FLOAT}.get(node.kind, 0)
        producer |= dict.fromkeys(node.writes, vertex)
        for name in node.reads:
            consumers.setdefault(name, []).append(vertex)
    for name, readers in consumers.items():
        if (made := producer.get(name)) is None:
            continue
        some, every = f"some {name}", f"every {name}"  # some, every reader or the producer is in float32
        yield some, made, CAST
        yield made, every, CAST
        for vertex in (made, *readers):
            yield vertex, some, FORBIDDEN
            yield every, vertex, FORBIDDEN


def _source_side(size: int, edges: dict[tuple[int, int], int]) -> np.ndarray:
    """Which vertices a minimum cut leaves with vertex 0, as bool [size]."""
    rows, columns = zip(*edges, strict=True)
    capacity = csr_matrix((np.array(list(edges.values()), np.int32), (rows, columns)), shape=(size, size))
    flow = maximum_flow(capacity, 0, 1).flow
    residual = csr_matrix(capacity - flow)
    residual.eliminate_zeros()
    side = np.zeros(size, bool)
    side[breadth_first_order(residual, 0, return_predecessors=False)] = True
    return side
