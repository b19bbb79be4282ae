"""Registers the compiled kernels with TensorRT, in the builder's process, by `tensorrt.plugin`.

Written against the Python sources of TensorRT 11.4 (tensorrt/plugin) and NVIDIA's documentation, which says that an
engine holds a kernel that was compiled ahead of time, and loads without plugin or Python. Never run with TensorRT.
Imports TensorRT and nothing else that is not in Python.
"""

import importlib
from pathlib import Path
from typing import Any

PLUGIN = "disasym::BilateralAttention"
ONE_TACTIC = [1]  # an ahead-of-time plugin without any fails: it reads the tactic that was set


def register(trt: Any, request: dict[str, Any]) -> None:
    """Make TensorRT know BilateralAttention with `request["kernels"]`; see `tensorrt_plugin.Plugin.request`.

    Raises:
        ModuleNotFoundError, AttributeError: this TensorRT has no plugins compiled ahead of time.
    """
    plugins: Any = importlib.import_module(f"{trt.__name__}.plugin")
    kernels = {_dtype(trt, name): kernel for name, kernel in request["kernels"].items()}
    types = "|".join(name.upper() for name in request["kernels"])

    def result(packed: Any) -> Any:  # [B, 2, N, 3D] → [B, 2, N, 2D]
        like = packed.like()
        like.shape_expr[3] = packed.shape_expr[3] * 2 // 3
        return like

    def combinations(packed: Any, outputs: Any) -> Any:  # types pair by pair: the result has the input's
        return [plugins.AutoTuneCombination(f"{types}, {types}", "LINEAR", ONE_TACTIC)]

    def kernel(packed: Any, outputs: Any, tactic: Any) -> Any:
        chosen = kernels[packed.dtype]
        launch = plugins.KernelLaunchParams()
        launch.grid_x = packed.shape_expr[0] * chosen["programs_a_pair"]
        launch.block_x, launch.shared_mem = chosen["threads"], chosen["shared"]
        return chosen["name"], Path(chosen["ptx"]).read_text(encoding="utf-8"), launch, plugins.SymIntExprs(0)

    # The decorators read annotations, whose types exist only here.
    result.__annotations__ = {"packed": plugins.TensorDesc, "return": plugins.TensorDesc}
    combinations.__annotations__ = {}
    returned = tuple[str, str, plugins.KernelLaunchParams, plugins.SymIntExprs]
    kernel.__annotations__ = {"return": returned}
    plugins.register(PLUGIN)(result)
    plugins.autotune(PLUGIN)(combinations)
    plugins.aot_impl(PLUGIN)(kernel)


def _dtype(trt: Any, name: str) -> Any:
    return {"fp32": trt.float32, "fp16": trt.float16, "bf16": trt.bfloat16}[name]
