"""A few training steps of every task, in as many processes as torchrun starts: `short_runs.py FOLDER BATCH [RUN ...]`.

Each run's weights lie in `FOLDER/RUN/last.safetensors`. BATCH is the images of a step, of all processes together. Batch
norms keep the statistics that they start with, as those of two processes on CPUs are never the same. All is computed in
double precision: AdamW divides gradients by their size, and so makes of rounding errors whole steps.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from tasks.objects import DrawnRectangles, Rectangles
from tasks.patches import Patches

from gpvit.data import Digits
from gpvit.data.detection.module import Sample, collate
from gpvit.data.module import ImageData
from gpvit.tasks import ClassificationTask, DetectionTask, SegmentationTask
from gpvit.tasks.base import Task
from gpvit.tasks.optim import OptimConfig
from gpvit.train import TrainConfig, fit

STEPS = 3
OPTIM = OptimConfig(lr=1e-3)


class NoisyRectangles(Rectangles):
    """Images that differ in their noise alone: a detector's loss is divided by the objects that a process sees, so
    that two processes agree with one where both see equally many.
    """

    def samples(self, split: str) -> "NoisyDrawing":
        return NoisyDrawing(self.images if split == "train" else 4, self.size, masks=False)

    def train_dataloader(self) -> DataLoader:
        """Load in an order that does not depend on how many a process takes, as that by shapes does."""
        return self.train_loader(self._ready(self.train_set), collate_fn=collate)


class NoisyDrawing(DrawnRectangles):
    def __getitem__(self, index: int) -> Sample:
        picture = super().__getitem__(0)
        noise = np.random.default_rng(index).integers(0, 60, (*self.size, 3), np.uint8)
        image = Image.fromarray(np.asarray(picture.image) // 2 + noise)
        return Sample(index, self.name(index), image, picture.objects, picture.masks)


def classification() -> tuple[Task, ImageData]:
    task = ClassificationTask("gpvit_nano", optim=OPTIM, mixup_alpha=0.0, cutmix_alpha=0.0)
    return task, Digits(image_size=32, rotation_degrees=0, shift=0, zoom=0)  # these vary whole batches


def segmentation() -> tuple[Task, ImageData]:
    return SegmentationTask("upernet_gpvit_nano", optim=OPTIM), Patches(images=12)


def detection() -> tuple[Task, ImageData]:
    task = DetectionTask("retinanet_gpvit_nano", optim=OPTIM, min_size=64, max_size=64)
    return task, NoisyRectangles(images=12, masks=False)


RUNS = {"classification": classification, "segmentation": segmentation, "detection": detection}


def keep_statistics(task: Task) -> None:
    """Take out what processes cannot agree on: batch statistics, and what dropout draws."""
    step = task.training_step

    def training_step(batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        for module in task.modules():
            if isinstance(module, nn.BatchNorm2d | nn.Dropout | nn.Dropout2d):
                module.eval()
        return step(batch, batch_idx)

    task.training_step = training_step  # type: ignore[method-assign]


def run(name: str, folder: Path, batch: int) -> None:
    task, data = RUNS[name]()
    keep_statistics(task)
    data.batch_size = batch
    settings = {"accelerator": "cpu", "precision": "64-true", "global_batch_size": batch, "validate_every": None}
    fit(task, data, TrainConfig(steps=STEPS, clip=1.0, ema=0.5, loggers=(), **settings), folder)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for each in sys.argv[3:] or RUNS:
        run(each, Path(sys.argv[1]) / each, int(sys.argv[2]))
