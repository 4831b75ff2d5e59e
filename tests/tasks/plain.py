"""Training as somebody does who has a Trainer of their own, and data of each task to do it with."""

from dataclasses import replace
from typing import Any

from lightning import Trainer
from tasks.objects import Rectangles
from tasks.patches import Patches

from gpvit.data import Digits
from gpvit.tasks import ClassificationTask, DetectionTask, OptimConfig, SegmentationTask

SMALL = {"min_size": 64, "channels": 16}  # of a detector
TASKS = {
    "gpvit_nano": (ClassificationTask, {}, lambda: Digits(image_size=32, batch_size=4)),
    "upernet_gpvit_nano": (SegmentationTask, {}, lambda: Patches(images=8)),
    "mask_rcnn_gpvit_nano": (DetectionTask, SMALL, lambda: Rectangles(images=8)),
}
"""A small model of each task: its class, its arguments, and how to make data for it."""


def optim(task: type, **settings: Any) -> OptimConfig:
    """The task's settings without warm-up and milestones, for runs of a few steps."""
    short = {"warmup_steps": 0, "warmup_epochs": None, "milestones": ()}
    return replace(task.default_optim, **{**short, **settings})


def train(task: Any, data: Any, **options: Any) -> Trainer:
    """Train for an epoch, quietly."""
    quiet = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", devices=1, num_sanity_val_steps=0, **{**quiet, **options})
    trainer.fit(task, datamodule=data)
    return trainer
