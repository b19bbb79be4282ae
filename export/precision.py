"""The ONNX graph of an export in the precision that was asked for, with what was measured to get there."""

import json
from pathlib import Path
from typing import Any, Literal, cast

import onnx

from disasym.errors import InputError
from disasym.export.options import ExportOptions
from disasym.export.parity import synthetic_pairs
from disasym.files import write_whole

REPORTS = "reports"


def in_precision(model: bytes, options: ExportOptions, folder: Path, reports: dict[str, str]) -> bytes:
    """A float32 graph in `options.precision`; reports are written into the export folder and noted in `reports`."""
    if options.precision == "fp32":
        return model
    if options.precision == "int8":
        return _int8(model, options, folder, reports)
    return _half(model, options, folder, reports)


def _half(model: bytes, options: ExportOptions, folder: Path, reports: dict[str, str]) -> bytes:
    """Mixed precision, with the nodes in float32 that were measured to need it."""
    from disasym.export.mixed import mixed
    from disasym.export.sensitivity import measure

    dtype = cast(Literal["fp16", "bf16"], options.precision)
    views, source = options.parity_views, "real"
    if views is None:
        views, source = synthetic_pairs(*_size(model)), "synthetic"
    measured = measure(model, dtype, views)  # it aims below what the gate accepts: pairs differ
    _write(folder, reports, "sensitivity", {"source": source, **measured.report})
    return mixed(model, dtype, measured.islands)


def _size(model: bytes) -> tuple[int, int]:
    """Height and width of the views that a graph takes."""
    height, width = onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim[2:]
    return height.dim_value, width.dim_value


def _int8(model: bytes, options: ExportOptions, folder: Path, reports: dict[str, str]) -> bytes:
    from disasym.export.quantise import quantise

    if (views := options.calibrated_on) is None:
        raise InputError("int8 is calibrated on real pairs, and there are none: give calibration_views")
    quantised = quantise(model, views)
    apart = options.calibration_views is not None
    note = "calibrated on other pairs than the gate runs" if apart else "the gate runs pairs it was calibrated on"
    _write(folder, reports, "int8", {**quantised.report, "gate": note})
    return quantised.model


def _write(folder: Path, reports: dict[str, str], name: str, report: dict[str, Any]) -> None:
    file = f"{REPORTS}/{name}.json"
    write_whole(folder / file, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    reports[name] = file
