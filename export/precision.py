"""The ONNX graph of an export in the precision that was asked for, with what was measured to get there."""

import json
from pathlib import Path
from typing import Any, Literal, cast

from disasym.errors import InputError
from disasym.export.options import ExportOptions
from disasym.files import write_whole

REPORTS = "reports"


def in_precision(model: bytes, options: ExportOptions, folder: Path, reports: dict[str, str]) -> bytes:
    """A float32 graph in `options.precision`; reports are written into the export folder and noted in `reports`."""
    if options.precision == "fp32":
        return model
    if options.precision == "int8":
        return _int8(model, options, folder, reports)
    from disasym.export.mixed import mixed

    return mixed(model, cast(Literal["fp16", "bf16"], options.precision))


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
