"""Exported files as models: what prediction and evaluation call, answered by the file's own runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models.detection.transform import resize_boxes

from gpvit.errors import UserError
from gpvit.layers.group_propagation import GroupMaps
from gpvit.models.detection.inputs import Detections, RoundedResize
from gpvit.models.detection.masks import MaskFormat, paste_masks
from gpvit.models.images import require_finite
from gpvit.runtime.sessions import Session, open_session


def open_exported(path: Path) -> "ExportedModel":
    """Open an exported file, to compute with as many threads as torch.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no export of gpvit, is damaged, or takes bytes where networks take floats.
    """
    session = open_any(path)
    facts = session.metadata
    if facts.input == "uint8" and facts.task != "detection":
        raise UserError(
            f"{path} takes bytes and gives {facts.outputs[0]}, where logits are needed; use gpvit.runtime "
            f"(python -m gpvit.runtime {path} photo.jpg), or export the model without --uint8"
        )
    return ExportedModel(session)


def open_any(path: Path) -> Session:
    """Open an exported file of any format and input, to compute with as many threads as torch."""
    if path.suffix != ".pt2":
        return open_session(path, torch.get_num_threads())
    from gpvit.zoo.pt2 import open_program  # of which the other formats need nothing

    return open_program(path)


class ExportedModel(nn.Module):
    """A classifier, segmenter or detector that an exported file computes, on the CPU and in the file's precision.

    Args:
        session: The opened file.

    Attributes:
        metadata: What the file says of its model.
        pretrained_cfg: How images are prepared and what the classes are, as other models tell it.
        place: An empty parameter, by which others find the device and type of the images.
    """

    stays_on_cpu = True

    def __init__(self, session: Session) -> None:
        super().__init__()
        facts = session.metadata
        self.session, self.metadata = session, facts
        self.task, self.num_classes, self.in_chans = facts.task, facts.num_classes, facts.in_chans
        self.stride = facts.stride
        self.has_masks = "masks" in facts.outputs
        classes = {"label_names": facts.label_names, "label_colors": facts.label_colors}
        how = facts.preprocessing
        self.pretrained_cfg: dict[str, Any] = {**how, **classes, "category_ids": facts.category_ids}
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)
        if facts.task == "detection":
            long, short = how["max_size"]
            self.transform = RoundedResize([short], long, how["mean"], how["std"]).eval()

    def _apply(self, fn: Any, recurse: bool = True) -> "ExportedModel":
        """Refuse to go to another device or type; the graph stays where it is."""
        if (moved := fn(self.place)).device.type != "cpu" or moved.dtype != torch.float32:
            raise UserError(
                f"{self.session.source} computes on the CPU and takes float32; leave the device out, or give 'cpu'"
            )
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "ExportedModel":
        """Return itself: nothing in it changes, and a session has no copy."""
        return self

    def run(self, images: torch.Tensor | np.ndarray) -> dict[str, torch.Tensor]:
        """Run the graph on images as it takes them; the outputs by name."""
        outputs = self.session.run(np.ascontiguousarray(images))
        return {name: torch.from_numpy(np.ascontiguousarray(output)) for name, output in outputs.items()}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits of images ``(B, C, H, W)``: a classifier's ``(B, K)``, a segmenter's at low resolution."""
        return self.run(images)["logits"]

    forward_low = forward

    def group_maps(self, images: torch.Tensor) -> dict[int, GroupMaps]:
        """Compute the attention maps of the group propagation blocks, by their index in the model.

        Raises:
            UserError: The file has no such outputs.
        """
        blocks = [int(name.removeprefix("grouping_")) for name in self.metadata.outputs if name.startswith("grouping_")]
        if not blocks:
            raise UserError(f"{self.session.source} has no maps of groups; export the model with --groups")
        outputs = self.run(images)
        return {block: GroupMaps(outputs[f"grouping_{block}"], outputs[f"ungrouping_{block}"]) for block in blocks}

    def find(self, images: Sequence[torch.Tensor], masks: MaskFormat = "box") -> list[Detections]:
        """Detect objects in images ``(C, H, W)`` of one size, floats in [0, 1]; see :meth:`Detector.find`."""
        original = int(images[0].shape[1]), int(images[0].shape[2])
        if self.metadata.input == "uint8":
            seen, outputs = original, self.run((torch.stack(list(images)).permute(0, 2, 3, 1) * 255).round().byte())
        else:
            batch, _ = self.transform(list(images))
            seen = batch.image_sizes[0]
            outputs = self.run(batch.tensors[..., : seen[0], : seen[1]])  # the graph pads by itself
        for name in ("boxes", "scores"):
            require_finite(outputs[name], torch.float32)
        detections = []
        for i, labels in enumerate(outputs["labels"]):
            found = labels > 0  # the other places are unused
            own: Detections = {name: outputs[name][i][found] for name in ("boxes", "labels", "scores")}
            own["boxes"] = resize_boxes(own["boxes"], list(seen), list(original))
            if self.has_masks:
                own["masks"] = outputs["masks"][i][found][:, None]
                if masks != "box":
                    own["masks"] = paste_masks(own["masks"], own["boxes"], original, masks == "binary")
            detections.append(own)
        return detections
