"""The kernel inside PyTorch: as a registered operator, compiled, exported, packaged, and in a training step."""

import copy
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.attention_check import FACTOR, relative_error
from benchmarks.gpu_part import NotHere, Part, require
from disasym import losses
from disasym.blocks import AsymmetricBlock
from disasym.kernels import bilateral_attention
from disasym.model import PRESETS, DisAsymNet

OPERATOR = "disasym.bilateral_attention"


def operator(part: Part) -> None:
    """What torch.library promises of an operator, and torch.compile of the operator and of a block."""
    torch.manual_seed(0)
    part.check("torch.library.opcheck", lambda: _opcheck(part), seconds=20)
    part.check("torch.compile of the operator", lambda: _compile_operator(part), seconds=20)
    part.check("torch.compile of the operator, any size", lambda: _compile_any_size(part), seconds=20)
    part.check("torch.compile of a block, forward and backward", lambda: _compile_block(part), seconds=30)


def export(part: Part) -> None:
    torch.manual_seed(0)
    part.check("torch.export keeps the operator", lambda: _export(part), seconds=20)
    part.check("AOTInductor package", lambda: _package(part, None), seconds=60)
    part.check("AOTInductor package, any batch", lambda: _package(part, 6), seconds=60)


def training(part: Part) -> None:
    """The `small` network under autocast, with the kernel and with the reference."""
    for dtype in (torch.float16,) if part.dry else (torch.float16, torch.bfloat16):
        name = f"a training step of `small` under autocast, {str(dtype).removeprefix('torch.')}"
        part.check(name, lambda dtype=dtype: _training(part, dtype), seconds=15)  # type: ignore[misc]


def ask(module: nn.Module, backend: str) -> nn.Module:
    """Let a model's blocks ask for one backend by name: "auto" would hide that the kernel was passed over."""
    for part in module.modules():
        if isinstance(part, AsymmetricBlock):
            part.attention = backend
    return module


def _opcheck(part: Part) -> str:
    from disasym.kernels.op import attend

    shape = (1, 2, 5, 3, 1, 32) if part.dry else (2, 2, 127, 3, 2, 64)
    for grad in (False, True):
        qkv = torch.randn(shape, device=part.device, dtype=torch.float32)
        q, k, v = (t.detach().requires_grad_(grad) for t in qkv.unbind(3))
        torch.library.opcheck(attend, (q, k, v, 0.125))
    return "schema, autograd registration, fake tensors, tracing"


def _compiler(part: Part) -> dict[str, Any]:
    return {"backend": "aot_eager"} if part.dry else {}


def _compile_operator(part: Part) -> str:
    torch.compiler.reset()
    shape = (1, 2, 9, 3, 1, 32) if part.dry else (4, 2, 513, 3, 8, 64)
    q, k, v = torch.randn(shape, device=part.device, dtype=torch.float16).unbind(3)
    run = torch.compile(_fused, fullgraph=True, **_compiler(part))
    found, expected = run(q, k, v), _fused(q, k, v)
    require(torch.equal(found, expected), f"differs from eager by {float((found - expected).abs().max()):.1e}")
    return "one graph, the same bits as eager"


def _compile_any_size(part: Part) -> str:
    """One graph for any batch and any number of tokens: the kernel's own conditions on N must become guards."""
    torch.compiler.reset()
    run = torch.compile(_fused, fullgraph=True, dynamic=True, **_compiler(part))
    for batch, tokens in ((2, 9), (3, 11)) if part.dry else ((2, 513), (5, 700), (4, 512), (3, 40)):
        shape = (batch, 2, tokens, 3, 1 if part.dry else 8, 32 if part.dry else 64)
        q, k, v = torch.randn(shape, device=part.device, dtype=torch.float16).unbind(3)
        require(torch.equal(run(q, k, v), _fused(q, k, v)), f"B={batch} N={tokens}: differs from eager")
    return "odd, even and short N, the same bits as eager"


def _fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return bilateral_attention(q, k, v, backend="triton")


def _block(part: Part) -> tuple[nn.Module, Tensor]:
    """One block of the transformer and tokens for it."""
    width, heads, shape = (32, 1, (2, 2, 9)) if part.dry else (512, 8, (4, 2, 512))
    dtype = torch.float32 if part.dry else torch.float16
    block = AsymmetricBlock(width, heads, "triton").to(part.device, dtype)
    return block, torch.randn(*shape, width, device=part.device, dtype=dtype)


def _compile_block(part: Part) -> str:
    torch.compiler.reset()
    block, tokens = _block(part)
    exact = _gradients(ask(copy.deepcopy(block).double(), "reference"), tokens.double())
    eager = _gradients(block, tokens)
    compiled = _gradients(block, tokens, torch.compile(block, fullgraph=True, **_compiler(part)))
    return _no_worse("compiled", compiled, "eager", eager, exact)


def _gradients(block: nn.Module, tokens: Tensor, run: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """The block's result and all its gradients in one vector; `run` is the block compiled."""
    tokens = tokens.detach().requires_grad_()
    out = block(tokens) if run is None else run(tokens)
    gradients = torch.autograd.grad(out.square().mean() * out.numel() ** 0.5, [tokens, *block.parameters()])
    return torch.cat([t.detach().flatten() for t in (out, *gradients)])


def _no_worse(name: str, found: Tensor, plain_name: str, plain: Tensor, exact: Tensor) -> str:
    error, usual = relative_error(found, exact), relative_error(plain, exact)
    require(error <= FACTOR * usual + 1e-6, f"error of {name} {error:.1e}, of {plain_name} {usual:.1e}")
    return f"error of {name} {error:.1e}, of {plain_name} {usual:.1e}"


def _exported(part: Part, module: nn.Module, tokens: Tensor, *, dynamic: bool) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("batch", min=2, max=64)},) if dynamic else None
    with torch.no_grad():
        program = torch.export.export(module.eval(), (tokens,), dynamic_shapes=shapes)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    count = sum(target.startswith(OPERATOR) for target in targets)
    require(count == 1, f"the graph holds {count} nodes {OPERATOR}, expected 1: {targets}")
    return program


def _export(part: Part) -> str:
    block, tokens = _block(part)
    program = _exported(part, block, tokens, dynamic=True)
    with torch.no_grad():
        require(torch.equal(program.module()(tokens), block(tokens)), "the exported program differs from eager")
    return "one graph with one node of the operator, the same bits as eager"


def _package(part: Part, other_batch: int | None) -> str:
    """Compiled ahead of time, saved, loaded and run; with a batch that it was not compiled with, if one is given."""
    if part.dry:
        raise NotHere("what it compiles is the kernel for a GPU")
    import torch._inductor

    block, tokens = _block(part)
    program = _exported(part, block, tokens, dynamic=other_batch is not None)
    if other_batch is not None:
        tokens = torch.randn(other_batch, *tokens.shape[1:], device=part.device, dtype=tokens.dtype)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = torch._inductor.aoti_compile_and_package(program, package_path=str(Path(folder) / "block.pt2"))
        found = torch._inductor.aoti_load_package(path)(tokens)
        size = Path(path).stat().st_size
        plain = block(tokens)
        exact = ask(copy.deepcopy(block).double(), "reference")(tokens.double())
    return _no_worse("the package", found, "eager", plain, exact) + f", {size / 1e6:.1f} MB"


def _training(part: Part, dtype: torch.dtype) -> str:
    """Loss and gradients, then one step of Adam that must leave every weight finite."""
    config = PRESETS["small"]
    if part.dry:
        config = dataclasses.replace(config, height=64, width=32, widths=(8, 8, 16, 32), blocks=1, heads=1)
    torch.manual_seed(0)
    network = DisAsymNet(config).to(part.device)
    views = torch.rand(4, 2, config.height, config.width, device=part.device)
    exact = _step(network, views, "reference", None)
    plain = _step(network, views, "reference", dtype)
    found = _step(network, views, "triton", dtype)
    return _no_worse("the kernel", found, "the reference", plain, exact.double())


def _step(network: DisAsymNet, views: Tensor, backend: str, dtype: torch.dtype | None) -> Tensor:
    """The loss and all gradients of a copy in one vector."""
    network = copy.deepcopy(network).train()
    ask(network, backend)
    labels = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]], device=views.device, dtype=torch.float32)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    with torch.autocast(views.device.type, dtype=dtype, enabled=dtype is not None):
        found = network.asyc(views)
        normal, abnormality = network.asyd(views, found)
        loss = losses.classification(found.asymmetry.float(), found.abnormal.float(), labels)
        loss = loss + (views - normal.float()).abs().mean() + (views - abnormality.float()).abs().mean()
    scale = 1024.0 if dtype == torch.float16 else 1.0
    (loss * scale).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    for gradient in gradients:
        gradient /= scale
    optimizer.step()
    require(all(bool(p.isfinite().all()) for p in network.parameters()), f"{backend}: a weight is not finite")
    return torch.cat([loss.detach().reshape(1), *(gradient.flatten() for gradient in gradients)])
