"""Recipes: every setting to every wrong value, and damaged bytes; read, checked and built, not trained."""

import pytest
import yaml
from fuzz.damage import documents, files
from fuzz.property import holds
from hypothesis import example, given

from gpvit.train.recipes import read_recipe

TINY = {"train": {"epochs": 1, "devices": 1}, "optim": {"lr": 0.001, "betas": [0.9, 0.999], "milestones": []}}
CLASSIFY = {
    **TINY,
    "model": {"name": "gpvit_nano", "weights": None, "label_smoothing": 0.1, "mixup_alpha": 0.8},
    "data": {"class": "Digits", "image_size": 32, "batch_size": 4, "shift": 0.1},
}
SEGMENT = {
    **TINY,
    "base": ["digit_scenes/segment.yaml"],
    "model": {"name": "segformer_gpvit_nano", "backbone_kwargs": {"drop_path_rate": 0.1}},
    "data": {"class": "gpvit.data.segmentation.DigitScenes", "train_digits": [1, 3], "train_scenes": 4},
}
DETECT = {
    "base": "digit_scenes/detect.yaml",
    "model": {"class": "gpvit.tasks.DetectionTask", "name": "retinanet_gpvit_nano"},
    "data": {"class": "gpvit.data.detection.DigitScenes", "train_scenes": 4, "test_scenes": 2},
}
SOUND = {name: yaml.safe_dump(each).encode() for name, each in (("c", CLASSIFY), ("s", SEGMENT), ("d", DETECT))}


def written(document) -> bytes:
    return yaml.safe_dump(document).encode()


def read(arguments):
    task, data, _ = read_recipe(arguments).build()
    return task, data


CONTENT = documents(CLASSIFY, SEGMENT, DETECT).map(written) | files(SOUND).map(lambda file: file[1])


@pytest.mark.parametrize("name", SOUND)
def test_the_sound_ones_are_read(name, tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(SOUND[name])
    read([str(tmp_path / "recipe.yaml")])


def changed(group, **values):
    return written({**CLASSIFY, group: {**CLASSIFY[group], **values}})


@given(content=CONTENT)
@example(content=b"{}\n")
@example(content=b"model: {class: null}\ndata: {class: Digits}\n")
@example(content=changed("data", **{"class": 1}))
@example(content=changed("train", epochs=None))
@example(content=changed("model", **{" ": None}))
@example(content=changed("model", **{"": None}))
@example(content=written({**CLASSIFY, 1e-4: {}}))
@example(content=SOUND["d"].replace(b"train_scenes: 4", b"train_scenes: 2147483648"))
@example(content=SOUND["s"].replace(b"backbone_kwargs", b"ackbone_kwargs"))
def test_wrong_recipes(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    holds(lambda: read([str(path)]), tmp_path)
