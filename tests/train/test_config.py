import pytest

from gpvit.train import TrainConfig


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "give one of the two, the run's length"),
        ({"epochs": 1, "steps": 1}, "give one of the two, the run's length"),
        ({"epochs": 1, "accumulate": 2, "global_batch_size": 8}, "accumulation follows"),
        ({"epochs": 0}, "epochs 0: give 1 or more"),
        ({"epochs": 1, "checkpoint_every": 0}, "checkpoint_every 0"),
        ({"epochs": 1, "ema": 1.0}, "between 0 and 1"),
        ({"epochs": 1, "loggers": ("csv",)}, "choose of tensorboard and wandb"),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("images", "batch_size", "processes", "layout"),
    [
        (32, 2, 1, (2, 16)),
        (32, 2, 16, (2, 1)),
        (32, 12, 1, (8, 4)),  # lowered to a divisor
        (30, 16, 1, (10, 3)),  # an even one, for Mixup, though 15 divides it too
        (30, 15, 1, (15, 2)),  # unless it fits as it is
        (9, 8, 1, (3, 3)),
        (4, 64, 2, (2, 1)),
    ],
)
def test_accumulation_follows_from_the_images_of_a_step(images, batch_size, processes, layout):
    size, count = TrainConfig(epochs=1, global_batch_size=images).batch_layout(batch_size, processes)
    assert (size, count) == layout
    assert size * count * processes == images


def test_images_that_the_devices_cannot_share_are_refused():
    with pytest.raises(ValueError, match="33 cannot be shared by 2 devices: give a multiple of 2"):
        TrainConfig(epochs=1, global_batch_size=33).batch_layout(8, 2)
    assert TrainConfig(epochs=1, accumulate=3).batch_layout(8, 2) == (8, 3)
