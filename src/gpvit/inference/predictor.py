"""Any image in, classes out: of the image, of each of its pixels, or of the objects in it."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn

from gpvit.data.images import ImageSource, read_image
from gpvit.devices import choose_device
from gpvit.errors import UserError
from gpvit.inference.classification import Classification
from gpvit.inference.detection import Detection
from gpvit.inference.labelling import LabellingMethod
from gpvit.inference.metadata import task_of
from gpvit.inference.segmentation import Segmentation
from gpvit.zoo.factory import is_untrained, open_model

OnError = Callable[[ImageSource, Exception], object]
Result = Any  # the model's task decides which of the three; a union would need isinstance

_TASKS: dict[str, type[Classification] | type[Segmentation] | type[Detection]] = {
    "classification": Classification,
    "segmentation": Segmentation,
    "detection": Detection,
}


class Predictor:
    """Classifies or segments images or finds the objects in them, prepared as the model's ``pretrained_cfg`` says.

    Args:
        model: A classifier, segmenter or detector; a name of the catalog as ``"gpvit_l1.in1k"``; or the path of a
            checkpoint that describes itself. A module is put into evaluation mode.
        device: Where to compute. By default a module stays where it is, and any other model goes to this machine's
            accelerator, if it has one.
        batch_size: Images that go through the model at once: by default 16 through a classifier and 1 through a
            detector; a segmenter takes one at a time.
        method: How a segmenter labels a picture: :class:`~gpvit.inference.labelling.WholeImage` by default, or
            :class:`~gpvit.inference.labelling.SlidingWindow` for pictures too large for that.

    Raises:
        FileNotFoundError: If a checkpoint's path leads nowhere.
        ValueError: If the model is unknown or for another task or other images than pictures, the device is not there,
            or a setting is not one of the model's task.

    Example:
        >>> predictor = Predictor("gpvit_l1.in1k")
        >>> predictor("cat.jpg").top(1)
        [Prediction(class_name='tabby', class_index=281, probability=0.83)]
        >>> for result in predictor.stream(Path("photos").glob("*.jpg")):
        ...     print(result)
        >>> Predictor("upernet_gpvit_l1.ade20k", method=SlidingWindow(size=512))("street.jpg").save("street.png")
        >>> Predictor("mask_rcnn_gpvit_l1.coco_3x")("street.jpg").filtered(score=0.5, classes=["car"]).counts()
        [ClassCount(class_name='car', label=3, num_objects=4, best_score=0.98)]
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        method: LabellingMethod | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; give 1 or more")
        if not isinstance(model, nn.Module):
            name, model, device = model, open_model(model), choose_device(device)
            if is_untrained(name):
                warnings.warn(f"{name} has no weights, so its answers mean nothing", stacklevel=2)
        elif device is not None:
            device = choose_device(device)
        if (task := task_of(model)) not in _TASKS:
            raise UserError(f"{type(model).__name__} is for {task}; Predictor answers for {', '.join(_TASKS)}")
        self._task = _TASKS[task](model.to(device).eval(), batch_size, method)
        self.model: nn.Module = model
        self.preprocessing = self._task.preprocessing
        self.class_names = self._task.class_names
        self.batch_size = self._task.batch_size

    @overload
    def __call__(self, images: ImageSource) -> Result: ...

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...]) -> list[Result]: ...

    def __call__(self, images: ImageSource | list[Any] | tuple[Any, ...]) -> Result | list[Result]:
        """Answer for an image, or for each image of a list or tuple.

        Args:
            images: Paths, PIL images, arrays or tensors, as :func:`gpvit.data.read_image` takes them.

        Raises:
            FileNotFoundError: If a path leads nowhere.
            ValueError: If something is no image, or holds NaN.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images))
        return next(self.stream([images]))

    def stream(self, images: Iterable[ImageSource], on_error: OnError | None = None) -> Iterator[Result]:
        """Answer for any number of images in constant memory, a batch at a time, in their order.

        Args:
            images: As for a call, from any iterable; no more than a batch is taken in advance.
            on_error: Called with an image that cannot be read and the error, which then is skipped. By default the
                error is raised.
        """
        remaining = iter(images)
        while batch := list(islice(remaining, self.batch_size)):
            prepared: list[Any] = []
            sources: list[ImageSource] = []
            for source in batch:
                try:
                    prepared.append(self._task.prepare(read_image(source)))
                    sources.append(source)
                except (ValueError, OSError) as error:
                    if on_error is None:
                        raise
                    on_error(source, error)
            if prepared:
                yield from self._task.answer(prepared, sources)
