"""The operator around the kernels: who gets it, who is refused it, and how compilers and exporters see it."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from disasym import kernels
from disasym.errors import InputError, MissingExtraError
from disasym.kernels import bilateral_attention
from disasym.model import PRESETS, DisAsymNet
from networks import lively, pairs_for
from tolerances import tolerance

needs_triton = pytest.mark.skipif(not kernels.HAS_TRITON, reason="Triton has no build for this platform")


def made(dim: int = 32, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = torch.randn(1, 2, 5, 3, 2, dim).to(dtype).unbind(3)
    return q, k, v


def compiled_python(script: str) -> str:
    """What the script prints in a process whose kernels are compiled, not interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@needs_triton
@pytest.mark.parametrize(
    ("dim", "dtype", "says"),
    [
        (8, torch.float32, "takes heads of dimension 32, 64, 128, these have 8; backend 'reference' takes it"),
        (32, torch.complex64, "these are torch.complex64"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_by_it_and_left_to_the_reference_by_auto(
    dim: int, dtype: torch.dtype, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        bilateral_attention(*made(dim, dtype), backend="triton")
    if not dtype.is_complex:
        assert bilateral_attention(*made(dim, dtype)).shape == (1, 2, 5, 4 * dim)


@needs_triton
def test_a_pair_too_large_for_32_bit_offsets_is_refused() -> None:
    q = torch.empty(1, 2, 2, 1, 32, device="meta").as_strided((1, 2, 2, 1, 32), (0, 2**31, 32, 32, 1))
    with pytest.raises(InputError, match="elements lie within 2147483647, those of q lie within 2147483711"):
        bilateral_attention(q, q, q, backend="triton")


def test_triton_asked_for_and_absent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "HAS_TRITON", False)
    with pytest.raises(MissingExtraError, match=r"attention backend 'triton' needs .* pip install 'disasym\[gpu\]'"):
        bilateral_attention(*made(), backend="triton")


@needs_triton
def test_triton_asked_for_on_a_cpu_is_an_error_and_auto_does_not_even_import_it() -> None:
    printed = compiled_python(
        "import sys, torch\n"
        "from disasym.errors import InputError\n"
        "from disasym.kernels import bilateral_attention\n"
        "q, k, v = torch.randn(1, 2, 5, 3, 2, 32).unbind(3)\n"
        "print(bilateral_attention(q, k, v).shape, 'triton' in sys.modules)\n"
        "try: bilateral_attention(q, k, v, backend='triton')\n"
        "except InputError as error: print(error)\n"
    )
    assert "torch.Size([1, 2, 5, 128]) False" in printed
    assert "runs on CUDA tensors, these are on cpu: move them to a GPU, or ask for backend 'reference'" in printed


@pytest.mark.slow
@needs_triton
def test_the_network_computes_the_same_with_either_backend() -> None:
    """Values and gradients of the whole `small` network; the heads of `small` have 32 dimensions."""
    reference = lively("small")
    fused = DisAsymNet(PRESETS["small"], attention="triton").eval()
    fused.load_state_dict(reference.state_dict())
    views = torch.from_numpy(pairs_for("small", 1))
    gradients: list[Tensor] = []
    for network in (reference, fused):
        found = network.asyc(views)
        first = network.asyc.blocks[0].get_parameter("qkv.weight")
        gradients += torch.autograd.grad(found.asymmetry.sum() + found.abnormal.sum(), first)
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() <= tolerance("attention backends, float32")
    with torch.inference_mode():
        for ours, wanted in zip(fused(views), reference(views), strict=True):
            assert (ours - wanted).abs().max() <= tolerance("attention backends, float32")


TRACE = """
from unittest import mock
import torch
import triton
from torch._functorch.aot_autograd import aot_export_module
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget
from disasym.kernels import bilateral_attention

class Attention(torch.nn.Module):
    def forward(self, qkv):
        q, k, v = qkv.unbind(3)
        return (bilateral_attention(q, k, v, backend="triton"),)

class Driver:  # what the analysis asks of a GPU's driver: for which GPU to compile
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)
    def get_current_device(self):
        return 0

with FakeTensorMode():
    qkv = torch.empty(2, 2, 512, 3, 8, 64, device="cuda", dtype=torch.float16)
with (
    mock.patch("torch.cuda.get_device_capability", lambda device=None: (9, 0)),
    mock.patch.object(type(triton.runtime.driver), "active", Driver()),
):
    graph, _ = aot_export_module(Attention(), (qkv,), trace_joint=False)
for node in graph.graph.nodes:
    if "triton" in str(node.target):
        print(node.target, node.kwargs["grid"], sorted(node.kwargs["tensors_to_clone"]))
"""


@needs_triton
def test_compilers_look_through_the_operator_to_the_kernel_and_see_what_it_writes() -> None:
    """On a graph of fake CUDA tensors, which needs no GPU: Inductor and AOTInductor start from this graph."""
    assert compiled_python(TRACE).split("\n")[0] == "triton_kernel_wrapper_functional [(256, 1, 1)] ['lse', 'out']"


@needs_triton
def test_torch_export_keeps_the_operator_as_one_node_with_a_free_batch() -> None:
    class Attention(torch.nn.Module):
        def forward(self, qkv: Tensor) -> Tensor:
            q, k, v = qkv.unbind(3)
            return bilateral_attention(q, k, v, backend="triton")

    program = torch.export.export(
        Attention(), (torch.randn(2, 2, 5, 3, 2, 32),), dynamic_shapes={"qkv": {0: torch.export.Dim("batch")}}
    )
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called.count("disasym.bilateral_attention.default") == 1
    assert not any("softmax" in name or "scaled_dot_product" in name for name in called)
