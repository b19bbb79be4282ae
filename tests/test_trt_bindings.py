"""That the fake TensorRT offers nothing that the real bindings lack. They import without a GPU; no engine is run.

pycuda cannot be imported without the CUDA driver, so its names are held against its sources only (`fake_cuda`).
"""

import inspect
import re
from enum import Enum
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest

import fake_cuda
from disasym.engines.trt_plan import ERRORS, make_logger

trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is absent: pip install '.[rtx]'")

CLASSES = {
    fake_cuda.Engine: trt.ICudaEngine,
    fake_cuda.Execution: trt.IExecutionContext,
    fake_cuda.RuntimeConfig: trt.IRuntimeConfig,
}
ENUMS = {
    fake_cuda.Mode: [trt.TensorIOMode],
    fake_cuda.Kind: [trt.DataType],
    fake_cuda.Location: [trt.TensorLocation],
    fake_cuda.Layout: [trt.TensorFormat],
    fake_cuda.Strategy: [
        trt.ExecutionContextAllocationStrategy,
        trt.CudaGraphStrategy,
        trt.DynamicShapesKernelSpecializationStrategy,
    ],
}


def methods(fake: type) -> dict[str, FunctionType]:
    found = {name: value for name, value in vars(fake).items() if isinstance(value, FunctionType)}
    return {name: value for name, value in found.items() if not name.startswith("_")}


def overloads(real: Any) -> list[list[str]]:
    """The arguments of each overload, `self` left out, as pybind11 writes them into the docstring."""
    signatures = re.findall(rf"\b{real.__name__}\(self: [\w.]+((?:, \w+: [^,()]+)*)\)", real.__doc__)
    return [re.findall(r", (\w+): ", signature) for signature in signatures]


@pytest.mark.parametrize(
    ("fake", "name"), [(fake, name) for fake in CLASSES for name in methods(fake)], ids=lambda value: str(value)
)
def test_every_method_of_the_fake_is_one_of_the_bindings_with_these_arguments(fake: type, name: str) -> None:
    real = getattr(CLASSES[fake], name)
    given = [argument for argument in inspect.signature(methods(fake)[name]).parameters if argument != "self"]
    assert any(len(each) == len(given) for each in overloads(real)), real.__doc__
    if "_" not in given:
        assert given in overloads(real), real.__doc__


def test_there_is_something_to_compare() -> None:
    assert {len(methods(fake)) for fake in CLASSES} == {1, 7, 9}
    assert overloads(trt.IExecutionContext.set_tensor_address) == [["name", "memory"]]


def test_every_property_of_the_fake_is_one_of_the_bindings() -> None:
    assert isinstance(trt.ICudaEngine.num_io_tensors, property)
    for name in fake_cuda.RuntimeConfig.__slots__:
        assert isinstance(getattr(trt.IRuntimeConfig, name), property), name


@pytest.mark.parametrize("fake", ENUMS, ids=lambda fake: str(fake.__name__))
def test_every_constant_of_the_fake_is_one_of_the_bindings(fake: type[Enum]) -> None:
    known = {name for real in ENUMS[fake] for name in real.__members__}
    assert {member.name for member in fake} <= known


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx_bindings"])
def test_every_name_of_the_fake_module_is_one_of_the_bindings(flavour: str) -> None:
    offered = {name for name in vars(fake_cuda.library(fake_cuda.Machine(), flavour, 1)) if not name.startswith("__")}
    assert offered
    assert offered <= set(dir(trt))


def test_the_bindings_take_our_logger_and_its_errors_are_theirs() -> None:
    assert set(ERRORS) <= set(trt.ILogger.Severity.__members__)
    logger = make_logger(trt)
    assert isinstance(logger, trt.ILogger)
    logger.log(trt.ILogger.Severity.ERROR, " kept ")
    logger.log(trt.ILogger.Severity.WARNING, "dropped")
    logger.log(SimpleNamespace(name="INTERNAL_ERROR"), "kept too")
    assert logger.errors == ["kept", "kept too"]
