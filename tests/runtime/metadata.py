"""Metadata of each task as an export writes them."""

from gpvit.runtime.metadata import Metadata

COMMON = {
    "num_classes": 2,
    "in_chans": 3,
    "stride": None,
    "min_side": 8,
    "input": "float",
    "fixed_size": None,
    "label_names": ["cat", "dog"],
    "label_colors": None,
    "category_ids": None,
    "thresholds": {},
    "precision": "fp32",
    "opset": 20,
    "versions": {"gpvit": "1.0"},
    "weights_sha256": "0" * 64,
    "parity": [{"output": "logits", "size": [64, 96], "difference": 1e-6}],
}
HOW = {"input_size": [3, 32, 48], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.3]}
CLASSIFIER = {
    **COMMON,
    "name": "gpvit_nano",
    "task": "classification",
    "outputs": ["logits"],
    "preprocessing": {**HOW, "interpolation": "bicubic", "crop_pct": 0.9, "antialias": True},
}
SEGMENTER = {
    **COMMON,
    "name": "segformer_gpvit_nano",
    "task": "segmentation",
    "stride": 8,
    "outputs": ["logits"],
    "preprocessing": {**HOW, "max_size": [128, 64], "size_divisor": 32, "antialias": False},
}
DETECTOR = {
    **COMMON,
    "name": "mask_rcnn_gpvit_nano",
    "task": "detection",
    "outputs": ["boxes", "labels", "scores", "masks"],
    "preprocessing": {**HOW, "max_size": [128, 64], "size_divisor": 32, "antialias": False},
    "thresholds": {"score": 0.05, "nms": 0.5, "detections": 100},
}


def metadata(kind=CLASSIFIER, **changed) -> Metadata:
    return Metadata(**{**kind, **changed})
