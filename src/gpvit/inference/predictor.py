"""Any image in, classes out: of the image, of each of its pixels, or of the objects in it."""

import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, cast, overload

import torch
from torch import nn
from typing_extensions import TypeVar

from gpvit.devices import place
from gpvit.errors import UserError
from gpvit.inference.inferers import Inferer
from gpvit.inference.loading import ImageLoader, Loaded, in_batches, load_batches
from gpvit.inference.metadata import task_of
from gpvit.inference.results.base import Failure, Result
from gpvit.inference.results.classification import ClassificationResult
from gpvit.inference.results.detection import DetectionResult
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.inference.task_predictors import TASKS
from gpvit.models.prepared import Prepared
from gpvit.runtime.images import ImageSource
from gpvit.zoo.exported import ExportedModel
from gpvit.zoo.factory import is_untrained, open_model, untrained_remark

AnyResult = ClassificationResult | SegmentationResult | DetectionResult
R = TypeVar("R", bound=Result, default=AnyResult)
Precision = Literal["float32", "bfloat16", "float16"]


class Predictor(Generic[R]):
    """Classifies or segments images or finds the objects in them, prepared as the model's ``pretrained_cfg`` says.

    For type checkers, ``predictor: Predictor[SegmentationResult] = Predictor(...)`` says which results it gives.

    Args:
        model: A classifier, segmenter or detector; a name of the catalog such as ``"gpvit_l1.in1k"``; or the path of a
            checkpoint that describes itself, of an exported file, or of a run's folder. A module is put into evaluation
            mode. On a CPU in float32 a prepared copy of it runs (:func:`gpvit.optimize`), which follows changes of its
            weights; a module with hooks runs itself.
        device: Where to compute. By default a module stays where it is, and any other model goes to this machine's
            accelerator, if it has one.
        batch_size: Images that go through the model at once: by default 16 through a classifier and 1 through others,
            which take only images of equal size together.
        inferer: How a segmenter labels an image: :class:`~gpvit.inference.inferers.WholeImage` by default, or
            :class:`~gpvit.inference.inferers.SlidingWindow` for images too large for that.
        precision: With ``"bfloat16"`` or ``"float16"`` the network runs under autocast, which is faster on GPUs; an
            exported file has a precision of its own.

    Raises:
        FileNotFoundError: If a checkpoint's path leads nowhere.
        ValueError: If the model is unknown or for another task or takes neither gray nor colour images, the device is
            not there, or a setting is not one of the model's task.

    Example:
        >>> predictor = Predictor("gpvit_l1.in1k")
        >>> predictor("cat.jpg").top(1)
        [Prediction(class_name='tabby', class_index=281, probability=0.83)]
        >>> for result in predictor.stream(Path("photos").glob("*.jpg"), workers=4):
        ...     print(result)
        >>> Predictor("upernet_gpvit_l1.ade20k", inferer=SlidingWindow(size=512))("street.jpg").save("street.png")
        >>> Predictor("mask_rcnn_gpvit_l1.coco_3x")("street.jpg").filtered(score=0.5, classes=["car"]).counts()
        [ClassCount(class_name='car', label=3, num_objects=4, best_score=0.98)]
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        inferer: Inferer | None = None,
        precision: Precision = "float32",
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; give 1 or more")
        if precision not in ("float32", "bfloat16", "float16"):
            raise UserError(f"precision {precision!r}: choose float32, bfloat16 or float16")
        source = ""
        if isinstance(model, nn.Module):
            network = model if device is None else place(model, device)
        else:
            source, network = f"{model}: ", place(open_model(model), device)
            if is_untrained(model):
                warnings.warn(untrained_remark(model), stacklevel=2)
        if (task := task_of(network)) not in TASKS:
            raise UserError(f"{type(network).__name__} is for {task}; Predictor is for {', '.join(TASKS)}")
        if precision != "float32" and isinstance(network, ExportedModel):
            raise UserError(
                f"{source}computes in {network.metadata.precision}, as it was exported; leave out precision"
            )
        try:
            self._task = TASKS[task](network.eval(), inferer)
        except UserError as error:
            raise UserError(f"{source}{error}") from error
        self.model: nn.Module = network
        self._prepared = Prepared(network)
        self.preprocessing = self._task.preprocessing
        self.class_names = self._task.class_names
        self.batch_size = self._task.batch_size if batch_size is None else batch_size
        self.precision = precision

    @overload
    def __call__(self, images: ImageSource) -> R: ...

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...]) -> list[R]: ...

    def __call__(self, images: ImageSource | list[Any] | tuple[Any, ...]) -> R | list[R]:
        """Predict an image, or each image of a list or tuple.

        Args:
            images: Paths, PIL images, arrays or tensors, as :func:`gpvit.data.read_image` takes them.

        Raises:
            FileNotFoundError: If a path leads nowhere.
            ValueError: If something is no image, or what the model computes is not finite.
        """
        results = []
        for result in self.stream(images if isinstance(images, list | tuple) else [images]):
            if isinstance(result, Failure):
                raise result.error
            results.append(result)
        return results if isinstance(images, list | tuple) else results[0]

    def stream(
        self,
        images: Iterable[Any],
        workers: int = 0,
        find: Callable[[Any], ImageSource] | None = None,
        keep_pixels: bool = True,
    ) -> Iterator[R | Failure]:
        """Predict any number of images in constant memory, a batch at a time, in their order.

        What goes wrong with one image, be it damaged, too large for the memory, or the end of the process that decodes
        it, gives a :class:`~gpvit.inference.results.base.Failure` in its place, and the others go on.

        Args:
            images: As for a call, from any iterable; or what `find` takes.
            workers: Processes that decode and prepare images ahead of the network; without any, this process does so,
                and takes no more than a batch in advance.
            find: Gives the image itself, in the workers, where `images` lists something else, such as indices; a
                result's `source` is what was listed.
            keep_pixels: Whether results hold the decoded image. Without, drawing one reads its source again.
        """
        on_gpu = next(self.model.parameters()).device.type == "cuda"
        batches = in_batches(images, self.batch_size)
        for batch in load_batches(self.loader(find, keep_pixels), batches, workers, pin_memory=on_gpu):
            yield from self.infer(batch)

    def loader(self, find: Callable[[Any], ImageSource] | None = None, keep_pixels: bool = True) -> ImageLoader:
        """Return what decodes and prepares images for :meth:`infer`; it may be sent to another process."""
        return ImageLoader(self._task.prepare, self._task.read, find, keep_pixels)

    def infer(self, batch: Sequence[Loaded | Failure]) -> list[R | Failure]:
        """Run the network on loaded images.

        If a batch fails, because it is too large for the memory or an image breaks it, its halves are tried.
        """
        results = iter(self._infer([image for image in batch if isinstance(image, Loaded)]))
        return [image if isinstance(image, Failure) else next(results) for image in batch]

    def _infer(self, images: list[Loaded]) -> list[R | Failure]:
        if not images:
            return []
        device, dtype = next(self.model.parameters()).device, getattr(torch, self.precision)
        self._task.model = self._prepared() if dtype == torch.float32 else self.model
        try:
            with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return cast(list[R | Failure], self._task.infer(images))
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # which hold the memory that the halves need
            failure = Failure(images[0].source, error)
        if len(images) == 1:
            return [failure]
        half = len(images) // 2
        return self._infer(images[:half]) + self._infer(images[half:])
