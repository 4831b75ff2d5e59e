"""Any image in, classes out, from an exported file: what `gpvit.Predictor` does, without torch."""

from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from gpvit.errors import UserError
from gpvit.runtime.images import ImageSource, read_image
from gpvit.runtime.prepare import prepare, require_pictures
from gpvit.runtime.resizing import fitted_size, label_map
from gpvit.runtime.results import Classes, LabelMap, Objects
from gpvit.runtime.sessions import Arrays, open_session

Result = Classes | LabelMap | Objects


class Predictor:
    """Classifies or segments images or finds the objects in them, prepared as the file's metadata say.

    Args:
        path: An `.onnx` or `.xml` that `gpvit export` wrote.
        threads: Threads to compute with; by default the cores that this process may use.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no export of gpvit, is damaged, or takes neither gray nor colour images.

    Example:
        >>> Predictor("gpvit_l1.onnx")("cat.jpg").top(1)
        [{'class_name': 'tabby', 'class_index': 281, 'probability': 0.83}]
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self.session = open_session(path, threads)
        self.metadata = self.session.metadata
        self.class_names = tuple(self.metadata.label_names)
        require_pictures(self.metadata, self.session.source)

    @overload
    def __call__(self, images: ImageSource) -> Result: ...

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...]) -> list[Result]: ...

    def __call__(self, images: ImageSource | list[Any] | tuple[Any, ...]) -> Result | list[Result]:
        """Predict an image, or each image of a list or tuple: paths, PIL images or arrays.

        Raises:
            FileNotFoundError: A path leads nowhere.
            UserError: Something is no image, or what the graph computes is not finite.
        """
        if isinstance(images, list | tuple):
            return [self._predict(read_image(image)) for image in images]
        return self._predict(read_image(images))

    def _predict(self, image: Image.Image) -> Result:
        inputs = prepare(image, self.metadata)
        outputs = self.session.run(inputs)
        if not all(np.isfinite(output).all() for output in outputs.values()):
            raise UserError(
                f"{self.session.source} gives numbers that are not finite: its weights may be damaged, or "
                f"{self.metadata.precision} too narrow for it"
            )
        size = image.height, image.width
        match self.metadata.task:
            case "classification":
                return Classes(_probabilities(outputs), self.class_names)
            case "segmentation":
                return LabelMap(self._labels(outputs, inputs, size), self.class_names)
            case _:
                return self._objects(outputs, size)

    def _labels(self, outputs: Arrays, inputs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if "logits" in outputs:
            return label_map(outputs["logits"][0], inputs.shape[2:], size)
        labels = Image.fromarray(outputs["labels"][0])  # of the resized image, whose logits stay inside
        return np.array(labels.resize(size[::-1], Image.Resampling.NEAREST))

    def _objects(self, outputs: Arrays, size: tuple[int, int]) -> Objects:
        boxes, labels, scores = (outputs[name][0] for name in ("boxes", "labels", "scores"))
        if self.metadata.input == "float":
            seen = fitted_size(size, self.metadata.preprocessing["max_size"])
            boxes = boxes * np.tile(np.array(size[::-1], np.float32) / np.array(seen[::-1], np.float32), 2)
        found = labels > 0  # the other places are unused
        masks = outputs["masks"][0][found] if "masks" in outputs else None
        return Objects(boxes[found], labels[found], scores[found], self.class_names, size, masks)


def _probabilities(outputs: Arrays) -> np.ndarray:
    if "probabilities" in outputs:
        return outputs["probabilities"][0]
    logits = outputs["logits"][0]
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()
