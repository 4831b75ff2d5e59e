"""Folders that a run or a prediction left, damaged: what is resumed, and what is merged."""

import io
import json

import pytest
import torch
import yaml
from fuzz.damage import documents, files
from fuzz.property import holds
from fuzz.test_recipes import CLASSIFY
from hypothesis import given
from hypothesis import strategies as st

from gpvit.inference.job import Job
from gpvit.train.checkpoint import CONFIG, LAST, check_classes, find_start
from gpvit.train.recipes import read_recipe

NAMES = ["a.jpg", "b.jpg", "c.jpg"]
LINES = [
    {"index": 0, "facts": {"source": "a.jpg", "objects": []}, "objects": [{"image_id": 1, "bbox": [0, 1, 2, 3]}]},
    {"index": 2, "error": "c.jpg is damaged"},
    {"index": 1, "facts": {"source": "b.jpg"}},
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    recipe = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(CLASSIFY))
    return read_recipe([str(recipe)]).settings


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"step": 3, "class_names": ["cat", "dog"], "rows": [], "network": {"a": torch.ones(2)}}, buffer)
    return buffer.getvalue()


def resume(folder):
    recipe = read_recipe(["--resume", str(folder)])
    start = find_start(recipe.out, recipe.resume, recipe.settings)
    if start is not None:
        check_classes(start, ["cat", "dog"])
    return recipe


@given(data=st.data())
def test_damaged_runs(settings, tmp_path, data):
    config = yaml.safe_dump(settings)
    (tmp_path / CONFIG).write_text(config)
    (tmp_path / LAST).write_bytes(checkpoint())
    which = data.draw(st.sampled_from(["checkpoint", "bytes", "fields"]))
    if which == "checkpoint":
        (tmp_path / LAST).write_bytes(data.draw(files({"": checkpoint()}))[1])
    elif which == "bytes":
        (tmp_path / CONFIG).write_bytes(data.draw(files({"": config.encode()}))[1])
    else:
        (tmp_path / CONFIG).write_bytes(yaml.safe_dump(data.draw(documents(settings))).encode())
    holds(lambda: resume(tmp_path), tmp_path)


@given(data=st.data())
def test_damaged_predictions(tmp_path, data):
    for path in tmp_path.iterdir():
        path.unlink()
    Job(tmp_path, {"model": "gpvit_nano", "top": 5}, NAMES)
    said = (tmp_path / "job.json").read_bytes()
    lines = "".join(
        json.dumps(line) + "\n" for line in data.draw(st.just(LINES) | st.lists(documents(*LINES)))
    ).encode()
    damaged = files({"": lines}).map(lambda file: file[1])
    (tmp_path / "predictions-0.jsonl").write_bytes(data.draw(st.just(lines) | damaged))
    other = documents(json.loads(said)).map(lambda document: json.dumps(document).encode())
    (tmp_path / "job.json").write_bytes(data.draw(st.just(said) | other | files({"": said}).map(lambda file: file[1])))

    def merge():
        job = Job(tmp_path, {"model": "gpvit_nano", "top": 5}, NAMES)
        return job.remaining(), job.missing(), job.merge(str(tmp_path / "coco.json"))

    holds(merge, tmp_path, writes=("predictions.jsonl", "coco.json"))


@pytest.mark.parametrize(
    "line", [1, None, [], {"index": 9}, {"index": 0}, {"index": 0, "facts": {}, "objects": 3}], ids=str
)
def test_lines_of_nothing_are_predicted_again(tmp_path, line):
    job = Job(tmp_path, {}, NAMES)
    (tmp_path / "predictions-0.jsonl").write_text(json.dumps(line) + "\n")
    assert (job.remaining(), job.missing(), job.merge()) == ([0, 1, 2], 3, (0, 0))


def test_a_file_that_is_no_checkpoint_of_ours_is_not_resumed(settings, tmp_path):
    (tmp_path / CONFIG).write_text(yaml.safe_dump(settings))
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / LAST)
    assert holds(lambda: resume(tmp_path), tmp_path) is None
