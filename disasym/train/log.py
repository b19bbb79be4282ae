"""What a run writes for people: metrics.csv, TensorBoard events and pictures of one validation pair."""

import csv
import io
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F

from disasym.files import write_whole
from disasym.model import DisAsymNet
from disasym.spec import Array


class RunLog:
    """`metrics.csv` holds one row an epoch; TensorBoard the same, and pictures."""

    def __init__(self, folder: Path, epochs_done: int) -> None:
        self.folder = folder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TensorBoard's generated protobuf code
            from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=epochs_done + 1)

    def epoch(self, history: list[dict[str, float]]) -> None:
        """Record the last entry of `history`."""
        rows = io.StringIO()
        table = csv.DictWriter(rows, fieldnames=list(history[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(history)
        write_whole(self.folder / "metrics.csv", rows.getvalue().encode())
        for name, value in history[-1].items():
            if name != "epoch":
                self.writer.add_scalar(name, value, int(history[-1]["epoch"]))

    @torch.inference_mode()
    def picture(self, model: DisAsymNet, views: Array, epoch: int, device: str) -> None:
        """x, CAM, x_n and x_ab of both sides of one pair, views [2, H, W], as one image."""
        model.eval()
        out = model(torch.from_numpy(views)[None].to(device))
        cam = F.interpolate(out.cam, size=views.shape[-2:], mode="bilinear")
        shown = [image for image in (cam, out.normal, out.abnormality) if image is not None]
        columns = [torch.from_numpy(views), *(image[0].float().cpu() for image in shown)]
        grid = torch.cat([torch.cat(list(sides), dim=0) for sides in columns], dim=1)  # [2H, 4W]
        self.writer.add_image("right, left: x, CAM, x_n, x_ab", grid[None], epoch)

    def close(self) -> None:
        self.writer.close()
