"""A few training steps of every task, in as many processes as torchrun starts: `short_runs.py FOLDER BATCH [RUN ...]`.

Each run's weights lie in `FOLDER/RUN/last.safetensors`. BATCH is the images of a step, of all processes together. Batch
norms keep the statistics that they start with, as those of two processes on CPUs are never the same. All is computed in
double precision: AdamW divides gradients by their size, and so makes of rounding errors whole steps.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from tasks.objects import DrawnRectangles, Rectangles
from tasks.patches import Patches

from gpvit.data import Digits
from gpvit.data.detection.dataset import Sample, collate
from gpvit.data.module import ImageData
from gpvit.tasks import ClassificationTask, DetectionTask, SegmentationTask
from gpvit.train import ModelEMA, build_trainer, fit

STEPS = 3


class KeptStatistics(Callback):
    """Takes out what processes cannot agree on: batch statistics, and what dropout draws."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for module in pl_module.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.Dropout, nn.Dropout2d)):
                module.eval()


class NoisyRectangles(Rectangles):
    """Pictures that differ in their noise alone: a detector's loss is divided by the objects that a process sees, so
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


def classification() -> tuple[LightningModule, ImageData]:
    task = ClassificationTask("gpvit_nano", lr=1e-3, warmup_epochs=0, mixup_alpha=0.0, cutmix_alpha=0.0)
    return task, Digits(image_size=32, rotation_degrees=0, shift=0, zoom=0)  # these vary whole batches


def segmentation() -> tuple[LightningModule, ImageData]:
    return SegmentationTask("upernet_gpvit_nano", lr=1e-3, warmup_steps=0), Patches(images=12)


def detection() -> tuple[LightningModule, ImageData]:
    options = {"min_size": 64, "max_size": 64}
    task = DetectionTask("retinanet_gpvit_nano", options, lr=1e-3, warmup_steps=0, milestones=None)
    return task, NoisyRectangles(images=12, masks=False)


RUNS: dict[str, Any] = {
    "classification": (classification, {}),
    "segmentation": (segmentation, {}),
    "detection": (detection, {}),
    "sharded": (classification, {"strategy": "fsdp2"}),
    "sharded_segmentation": (segmentation, {"strategy": "fsdp2"}),
}


def run(name: str, folder: Path, batch: int) -> None:
    seed_everything(0, verbose=False)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    make, options = RUNS[name]
    task, data = make()
    data.batch_size = batch // processes
    callbacks = [KeptStatistics()] if "strategy" in options else [KeptStatistics(), ModelEMA(decay=0.5)]
    options = {"strategy": "ddp", **options} if processes > 1 else {}
    options |= {"accelerator": "cpu", "devices": processes, "max_steps": STEPS, "gradient_clip_val": 1.0}
    limit = 2 if isinstance(data, Digits) else 1.0
    options |= {"num_sanity_val_steps": 0, "limit_val_batches": limit, "log_every_n_steps": 1, "precision": "64-true"}
    fit(build_trainer(folder, callbacks, **options), task, data)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for each in sys.argv[3:] or RUNS:
        run(each, Path(sys.argv[1]) / each, int(sys.argv[2]))
