"""A process that holds the models and answers batches: bytes of image files in, JSON or PNG out."""

import logging
import os
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpvit.data.detection.results import run_lengths
from gpvit.errors import UserError
from gpvit.inference.groups import GroupImage, draw_groups
from gpvit.inference.metadata import task_of
from gpvit.inference.predictor import AnyResult, Predictor
from gpvit.inference.results.base import Failure
from gpvit.inference.results.classification import ClassificationResult
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.plugins import import_plugins
from gpvit.serve.messages import Answer, Limits, Question, Refusal, Setup, to_json

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_LONGEST_ASPECT = 50  # of sides: models scale the shorter one up, and the longer with it


def work(pipe: Connection, setup: Setup) -> None:
    """Load the models, say what they are, or why not, and answer until the other end of the pipe closes."""
    import_plugins()
    Image.MAX_IMAGE_PIXELS = setup.limits.pixels  # Pillow refuses twice as many by itself
    torch.set_num_threads(max(1, torch.get_num_threads() // setup.workers))
    try:
        predictors = {name: Predictor(model, setup.device, setup.batch_size) for name, model in setup.models.items()}
    except (UserError, OSError) as error:
        pipe.send(str(error))
        return
    pipe.send([_facts(name, predictor) for name, predictor in predictors.items()])
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        while True:
            try:
                question, images = pipe.recv()
                pipe.send(_answers(predictors[question.model], question, images, setup.limits, threads))
            except (EOFError, BrokenPipeError):  # the front has ended
                return


def open_upload(data: bytes, limits: Limits) -> Image.Image:
    """Open an image file of a known format without decoding it; refuses what is none, or too large once decoded."""
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
        width, height = image.size
    except Image.UnidentifiedImageError:
        raise Refusal(415, f"this is no image of a known format; send one of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        width = height = limits.pixels + 1
    except Exception as error:  # on damaged bytes Pillow's readers raise nearly anything
        raise Refusal(422, f"the image is damaged ({type(error).__name__}); send it again, or save it anew") from None
    if width * height > limits.pixels:
        raise Refusal(413, f"the image has more than {limits.pixels} pixels; make it smaller, or cut it")
    if max(width, height) > _LONGEST_ASPECT * min(width, height):
        raise Refusal(422, f"the image is {width} x {height}, longer than {_LONGEST_ASPECT} times its width; cut it")
    return image


def _facts(name: str, predictor: Predictor) -> dict[str, Any]:
    model: Any = predictor.model
    outputs = model.metadata.outputs if hasattr(model, "metadata") else ()  # of an exported file
    return {
        "name": name,
        "task": task_of(model),
        "class_names": list(predictor.class_names),
        "groups": any(isinstance(module, GroupPropagationBlock) for module in model.modules())
        or any(output.startswith("grouping_") for output in outputs),
        "batch_size": predictor.batch_size,
    }


def _answers(
    predictor: Predictor, question: Question, images: Sequence[bytes], limits: Limits, threads: ThreadPoolExecutor
) -> list[Answer]:
    find = partial(open_upload, limits=limits)
    if question.verb == "groups":
        return [_answer(partial(_groups, predictor, find, data), question) for data in images]
    loader = predictor.loader(find, keep_pixels=question.png and task_of(predictor.model) != "segmentation")
    loaded = list(threads.map(loader.__getitem__, images))
    return [_answer(lambda result=result: result, question) for result in predictor.infer(loaded)]


def _answer(compute: Any, question: Question) -> Answer:
    """Make an answer of what is computed, or of what went wrong."""
    try:
        result = compute()
        if isinstance(result, Failure):
            raise result.error
        if question.png:
            return Answer(200, _png(result), png=True)
        return Answer(200, to_json(_plain(result, question)))
    except Refusal as refusal:
        return refusal.answer
    except UserError as error:
        return Refusal(422, str(error)).answer
    except Exception:
        logging.getLogger(__name__).exception("a model failed on an image")
        return Refusal(500, "the model failed on this image; the service's log says why").answer


def _groups(predictor: Predictor, find: Any, data: bytes) -> GroupImage:
    return draw_groups(predictor.model, find(data), title="Groups")


def _plain(result: AnyResult | GroupImage, question: Question) -> dict[str, Any]:
    """Tell a result as plain data, as `to_dict` does, with masks as COCO's run lengths."""
    if isinstance(result, GroupImage):
        return _plain_groups(result)
    if isinstance(result, ClassificationResult):
        facts = result.to_dict(question.top)
    elif isinstance(result, SegmentationResult):
        facts = result.to_dict()
        for area in facts["areas"]:
            area["mask"] = run_lengths(torch.from_numpy(result.labels == area["class_index"])[None])[0]
            area["color"] = result.colors[area["class_index"]]
    else:
        result = result.filtered(question.score)
        facts = result.to_dict()
        for found, row in zip(facts["objects"], result.to_coco(0), strict=True):
            found |= {"mask": row["segmentation"]} if "segmentation" in row else {}
            found["color"] = result.colors[found["label"] - 1]
    return {key: value for key, value in facts.items() if key != "source"}


def _plain_groups(found: GroupImage) -> dict[str, Any]:
    """Tell groups: whose each token is, and how much each group attends to it, as bytes of the group's own range."""
    blocks = []
    for block in found.blocks:
        largest = block.strength.max(axis=(1, 2), keepdims=True)
        scaled = np.rint(block.strength / np.maximum(largest, 1e-9) * 255).astype(np.uint8)
        facts = {"block": block.block, "shape": block.strength.shape, "largest": largest.ravel().tolist()}
        maps = {"assignment": block.assignment.tolist(), "strength": b64encode(scaled.tobytes()).decode()}
        blocks.append(facts | maps)
    return {"width": found.image.width, "height": found.image.height, "stride": found.stride, "blocks": blocks}


def _png(result: AnyResult | GroupImage) -> bytes:
    buffer = BytesIO()
    if isinstance(result, GroupImage):
        result.figure().savefig(buffer, format="png")
    elif isinstance(result, SegmentationResult):
        result.label_image().save(buffer, "PNG")
    else:
        result.draw().save(buffer, "PNG")
    return buffer.getvalue()
