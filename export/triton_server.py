"""A model repository for NVIDIA Triton Inference Server (not the Triton language): config.pbtxt beside the model.

Layout and fields: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md.
Start it with `tritonserver --model-repository OUT/triton-server`.
"""

from pathlib import Path

from disasym.files import write_whole
from disasym.spec import output_shapes

REPOSITORY, MODEL = "triton-server", "disasym"
QUEUE_DELAY = 5000  # microseconds that a request waits for others; a pair takes longer than that on any CPU


def write_repository(
    folder: Path, onnx: bytes, height: int, width: int, outputs: tuple[str, ...], max_batch: int
) -> tuple[str, ...]:
    """Write the repository into an export folder; returns its files relative to it, the model first."""
    model, config = f"{REPOSITORY}/{MODEL}/1/model.onnx", f"{REPOSITORY}/{MODEL}/config.pbtxt"
    write_whole(folder / model, onnx)
    write_whole(folder / config, config_pbtxt(height, width, outputs, max_batch).encode())
    return model, config


def config_pbtxt(height: int, width: int, outputs: tuple[str, ...], max_batch: int) -> str:
    """The text of config.pbtxt: ModelConfig in protobuf's text format, the batch axis left to the server."""
    shapes = {name: shape[1:] for name, shape in output_shapes(1, height, width, outputs).items()}
    return "\n".join(
        [
            f'name: "{MODEL}"',
            'backend: "onnxruntime"',
            f"max_batch_size: {max_batch}",
            "input [",
            _tensor("views", (2, height, width)),
            "]",
            "output [",
            ",\n".join(_tensor(name, shape) for name, shape in shapes.items()),
            "]",
            f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY} }}",
            "",
        ]
    )


def _tensor(name: str, shape: tuple[int, ...]) -> str:
    if not shape:  # one number a pair: the server wants a size, the model has none
        return f'  {{ name: "{name}" data_type: TYPE_FP32 dims: [ 1 ] reshape {{ shape: [ ] }} }}'
    return f'  {{ name: "{name}" data_type: TYPE_FP32 dims: [ {", ".join(map(str, shape))} ] }}'
