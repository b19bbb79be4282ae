"""Exports with an engine of TensorRT, for the fake GPU of `fake_cuda`: their ONNX file stands in for the plan."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from disasym.engines import trt
from disasym.export.manifest import MANIFEST, ONNX, Target
from fake_cuda import VERSION

LARGEST = 7  # batch
FLAVOURS = ("tensorrt-rtx", "tensorrt")


def target_of(flavour: str, **changes: Any) -> Target:
    target = Target(
        engine=flavour,
        precision="fp32",
        files=(ONNX,),
        max_batch=LARGEST,
        versions={trt.MODULES[flavour][0]: VERSION},
        facts={"compute_capabilities": "as documented"},
        parity="not run (no GPU)",
    )
    return dataclasses.replace(target, **changes)


def with_plan(export: Path, copy: Path, flavour: str) -> Path:
    """A copy of an export whose only target is an engine."""
    shutil.copytree(export, copy)
    content = json.loads((copy / MANIFEST).read_text())
    content["targets"] = {flavour: dataclasses.asdict(target_of(flavour))}
    (copy / MANIFEST).write_text(json.dumps(content))
    return copy
