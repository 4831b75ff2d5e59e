"""Any image in, classes out."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn

from gpvit.data.images import ImageSource, read_image
from gpvit.inference.model import class_names_of, preprocessing_of
from gpvit.inference.result import ClassificationResult
from gpvit.models.devices import choose_device
from gpvit.models.opening import is_untrained, open_model

OnError = Callable[[ImageSource, Exception], object]


class Predictor:
    """Classifies images, prepared as the model's ``pretrained_cfg`` says.

    Args:
        model: A classifier, a name of the catalog as ``"gpvit_l1.in1k"``, or the path of a checkpoint that describes
            itself. A module is put into evaluation mode.
        device: Where to compute. By default a module stays where it is, and any other model goes to this machine's
            accelerator, if it has one.
        batch_size: Images that go through the model at once.

    Raises:
        FileNotFoundError: If a checkpoint's path leads nowhere.
        ValueError: If the model is unknown, no classifier of pictures, or the device is not there.

    Example:
        >>> predictor = Predictor("gpvit_l1.in1k")
        >>> predictor("cat.jpg").top(1)
        [Prediction(class_name='tabby', class_index=281, probability=0.83)]
        >>> for result in predictor.stream(Path("photos").glob("*.jpg")):
        ...     print(result)
    """

    def __init__(
        self, model: nn.Module | str | Path, device: str | torch.device | None = None, batch_size: int = 16
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 or more")
        if not isinstance(model, nn.Module):
            name, model, device = model, open_model(model), choose_device(device)
            if is_untrained(name):
                warnings.warn(f"{name} has no weights, so its answers mean nothing", stacklevel=2)
        elif device is not None:
            device = choose_device(device)
        if not getattr(model, "num_classes", 0):
            raise ValueError(f"{type(model).__name__} has no classifier; create it with num_classes above 0")
        self.model = model.to(device).eval()
        self.preprocessing = preprocessing_of(model)
        self.class_names = class_names_of(model)
        self.batch_size = batch_size
        self._transform = self.preprocessing.transform()

    @overload
    def __call__(self, images: ImageSource) -> ClassificationResult: ...

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...]) -> list[ClassificationResult]: ...

    def __call__(
        self, images: ImageSource | list[Any] | tuple[Any, ...]
    ) -> ClassificationResult | list[ClassificationResult]:
        """Classify an image, or each image of a list or tuple.

        Args:
            images: Paths, PIL images, arrays or tensors, as :func:`gpvit.data.read_image` takes them.

        Raises:
            FileNotFoundError: If a path leads nowhere.
            ValueError: If something is no image, or holds NaN.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images))
        return next(self.stream([images]))

    def stream(self, images: Iterable[ImageSource], on_error: OnError | None = None) -> Iterator[ClassificationResult]:
        """Classify any number of images in constant memory, a batch at a time, in their order.

        Args:
            images: As for a call, from any iterable; no more than a batch is taken in advance.
            on_error: Called with an image that cannot be read and the error, which then is skipped. By default the
                error is raised.
        """
        remaining = iter(images)
        while sources := list(islice(remaining, self.batch_size)):
            prepared = []
            for source in sources:
                try:
                    prepared.append((source, self._transform(read_image(source))))
                except (ValueError, OSError) as error:
                    if on_error is None:
                        raise
                    on_error(source, error)
            if prepared:
                yield from self._classify(prepared)

    @torch.inference_mode()
    def _classify(self, prepared: list[tuple[ImageSource, torch.Tensor]]) -> list[ClassificationResult]:
        weight = next(self.model.parameters())
        batch = torch.stack([image for _, image in prepared]).to(weight.device, weight.dtype)
        logits = self.model(batch).float().cpu()
        if not logits.isfinite().all():
            raise ValueError(f"the model's answers are not finite; are its weights, or is {weight.dtype} too narrow?")
        return [
            ClassificationResult(row, self.class_names, source)
            for row, (source, _) in zip(logits, prepared, strict=True)
        ]
