"""Model repositories for NVIDIA Triton Inference Server (not the Triton language): config.pbtxt beside the model.

Layout and fields: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md.
Start it with `tritonserver --model-repository OUT/triton-server`, or `OUT/triton-server-tensorrt/repository`.
"""

from pathlib import Path

from disasym.files import write_whole
from disasym.spec import output_shapes

MODEL = "disasym"
QUEUE_DELAY = 5000  # microseconds that a request waits for others: less than a pair takes on any CPU, and half of what
# a full batch of `paper` takes on a GPU at best (10 ms by arithmetic, docs/log.md)

ONNXRUNTIME = ['backend: "onnxruntime"']
# One instance on each GPU of the server, with the engine's only optimisation profile, which the backend calls "0".
TENSORRT = ['platform: "tensorrt_plan"', 'instance_group [ { count: 1 kind: KIND_GPU profile: [ "0" ] } ]']


# The server's onnxruntime backend hands no `session.x64quantprecision` on, which other engines set (docs/adr/0015).
VNNI_SERVER = "int8 needs a server with VNNI or an ARM processor: on others its sums overflow and scores are wrong"


def write_repository(
    folder: Path,
    place: str,
    onnx: bytes,
    height: int,
    width: int,
    outputs: tuple[str, ...],
    max_batch: int,
    needs: str = "",
) -> tuple[str, ...]:
    """A repository for onnxruntime at `place` in an export folder; returns its files, the model first.

    Args:
        needs: what a server must have for it, written into the configuration as a comment.
    """
    model, config = f"{place}/{MODEL}/1/model.onnx", f"{place}/{MODEL}/config.pbtxt"
    write_whole(folder / model, onnx)
    head = f"# {needs}\n" if needs else ""
    write_whole(folder / config, (head + config_pbtxt(height, width, outputs, max_batch, ONNXRUNTIME)).encode())
    return model, config


def write_plan_repository(
    folder: Path,
    place: str,
    engine: Path,
    height: int,
    width: int,
    outputs: tuple[str, ...],
    max_batch: int,
    tuned: int,
) -> tuple[str, ...]:
    """As `write_repository`, for TensorRT: `engine` is moved there. It takes batches of 1 to `max_batch`."""
    model, config = f"{place}/{MODEL}/1/model.plan", f"{place}/{MODEL}/config.pbtxt"
    (folder / model).parent.mkdir(parents=True)
    engine.rename(folder / model)
    text = config_pbtxt(height, width, outputs, max_batch, TENSORRT, preferred=tuned)
    write_whole(folder / config, text.encode())
    return model, config


def config_pbtxt(
    height: int, width: int, outputs: tuple[str, ...], max_batch: int, runs_on: list[str], preferred: int | None = None
) -> str:
    """The text of config.pbtxt: ModelConfig in protobuf's text format, the batch axis left to the server.

    Args:
        runs_on: ONNXRUNTIME or TENSORRT.
        preferred: the batch that the model is tuned for, sent without waiting once it is full.
    """
    shapes = {name: shape[1:] for name, shape in output_shapes(1, height, width, outputs).items()}
    size = f"preferred_batch_size: [ {preferred} ] " if preferred else ""
    return "\n".join(
        [
            f'name: "{MODEL}"',
            *runs_on,
            f"max_batch_size: {max_batch}",
            "input [",
            _tensor("views", (2, height, width)),
            "]",
            "output [",
            ",\n".join(_tensor(name, shape) for name, shape in shapes.items()),
            "]",
            f"dynamic_batching {{ {size}max_queue_delay_microseconds: {QUEUE_DELAY} }}",
            "",
        ]
    )


def _tensor(name: str, shape: tuple[int, ...]) -> str:
    if not shape:  # one number a pair: the server wants a size, the model has none
        return f'  {{ name: "{name}" data_type: TYPE_FP32 dims: [ 1 ] reshape {{ shape: [ ] }} }}'
    return f'  {{ name: "{name}" data_type: TYPE_FP32 dims: [ {", ".join(map(str, shape))} ] }}'
