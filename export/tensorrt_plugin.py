"""`--plugin`: the Triton kernel of bilateral attention in an engine of TensorRT, compiled ahead of time.

The graph gets one node a block (`tensorrt_plugin_region`), each kernel that these need is compiled here for the GPU,
and the builder's process, which has neither Triton nor torch, registers them (`tensorrt_plugin_register`). ADR 0017.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton

from disasym.errors import ExportError
from disasym.export.tensorrt_plugin_region import Region, rewrite
from disasym.kernels.packed_ptx import Ptx, packed_ptx


@dataclass(frozen=True)
class Plugin:
    """A graph for the plugin, and the kernels that it needs."""

    model: bytes
    kernels: dict[str, Ptx]  # dtype of the packed projection, as Triton calls it → kernel
    facts: dict[str, Any]  # JSON-ready

    def request(self, folder: Path) -> dict[str, Any]:
        """What the builder's process is told; the PTX is written into `folder`."""
        kernels = {}
        for dtype, kernel in self.kernels.items():
            file = folder / f"{kernel.name}-{dtype}.ptx"
            file.write_text(kernel.text, encoding="utf-8")
            kernels[dtype] = {
                "name": kernel.name,
                "ptx": str(file),
                "threads": kernel.threads,
                "shared": kernel.shared,
                "programs_a_pair": kernel.programs_a_pair,
            }
        return {"kernels": kernels}


def with_plugin(model: bytes, capability: tuple[int, int]) -> Plugin:
    """Rewrite a portable graph, in whichever precision, for a GPU of this compute capability.

    Raises:
        ExportError: the attention of the graph is not what the kernel computes.
        InputError: the kernel cannot be compiled for its shape or for this GPU.
    """
    rewritten = rewrite(model)
    kernels = {dtype: _kernel(of, dtype, capability) for dtype, of in _by_dtype(rewritten.regions).items()}
    facts = {
        "nodes": len(rewritten.regions),
        "region_and_reference_differ_by": rewritten.largest_difference,
        "compiled_by": f"Triton {triton.__version__}",
        "kernels": {dtype: _described(kernel) for dtype, kernel in kernels.items()},
    }
    return Plugin(rewritten.model, kernels, facts)


def _by_dtype(regions: tuple[Region, ...]) -> dict[str, list[Region]]:
    return {dtype: [each for each in regions if each.dtype == dtype] for dtype in sorted({r.dtype for r in regions})}


def _kernel(regions: list[Region], dtype: str, capability: tuple[int, int]) -> Ptx:
    shapes = {(each.tokens, each.heads, each.dim) for each in regions}
    if len(shapes) > 1:
        raise ExportError(
            f"blocks of this model differ in tokens, heads or dimension: {sorted(shapes)}; the plugin has one kernel"
            " for a dtype: export without the plugin"
        )
    return packed_ptx(*shapes.pop(), dtype, capability)


def _described(kernel: Ptx) -> dict[str, Any]:
    return {
        "entry": kernel.name,
        "tile": asdict(kernel.tile),
        "shared_bytes": kernel.shared,
        "registers": kernel.code.registers,
        "spills": kernel.code.spills,
        "tensor_core_instructions": kernel.code.matrix,
    }
