"""The verb `gpvit groups`."""

import sys
from pathlib import Path

from gpvit.cli import CommandError
from gpvit.data.files import list_images
from gpvit.devices import place
from gpvit.inference.groups import draw_groups
from gpvit.inference.inputs import image_names
from gpvit.runtime.images import ImageError, read_image
from gpvit.zoo.factory import is_untrained, open_model


def groups(
    model: str,
    images: list[str],
    out: str = "groups",
    size: int | None = None,
    weights: str | None = None,
    device: str | None = None,
) -> None:
    """Draw, for each group propagation block, which group each part of an image belongs to.

    Args:
        model: Name of a model such as gpvit_l1.in1k, path of a checkpoint, or of a file that was exported with
            --groups, or folder of a run.
        images: Files, folders and patterns such as 'photos/*.jpg'.
        out: Folder for the drawings, one PNG for each image.
        size: Shorter side in pixels that images are resized to (default that of the training, at most 512).
        weights: Tag or file of the weights, for a name without tag.
        device: Where to compute, such as cpu or cuda; default an accelerator if there is one.
    """
    paths = list_images(images)
    network = place(open_model(model, weights), device)
    if is_untrained(model, weights):
        print("no weights: groups are untrained", file=sys.stderr)
    failures = 0
    for image, name in zip(paths, image_names(paths, "_groups"), strict=True):
        try:
            drawing = draw_groups(network, read_image(image), size, title=f"{image.name}, {Path(model).name}")
        except (ImageError, OSError) as error:
            failures += 1
            print(f"gpvit groups: {error}", file=sys.stderr)
            continue
        path = Path(out) / name
        drawing.save(path)
        print(path, flush=True)
    if failures:
        raise CommandError(f"{failures} of {len(paths)} images could not be drawn")
