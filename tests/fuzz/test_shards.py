"""Folders of shards: tar files, their index and `_info.json`, damaged and of wrong fields."""

import json

import numpy as np
import pytest
from fuzz.damage import documents, files
from fuzz.property import holds
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gpvit.data.classification.shards import INFO, Shards, shard_samples
from gpvit.data.write_shards import write_shards


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """What a folder of shards holds, by the names of its files."""
    folder = tmp_path_factory.mktemp("images")
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            path = folder / split / name / "1.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(path)
    write_shards(folder, out := folder.with_name("shards"))
    return {path.name: path.read_bytes() for path in out.iterdir()}


def read_all(root):
    data = Shards(root, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    sets = data.train_set, data.val_set, *shard_samples(root)
    return [each[index] for each in sets for index in range(len(each))]


@pytest.mark.parametrize("name", ["train-0000.tar", "train-0000.idx", INFO])
@given(data=st.data())
def test_damaged_shards(sound, tmp_path, name, data):
    for each, content in sound.items():
        (tmp_path / each).write_bytes(content)
    (tmp_path / name).write_bytes(data.draw(files({name: sound[name]}))[1])
    holds(lambda: read_all(tmp_path), tmp_path, writes=("*.idx",))


@given(data=st.data())
def test_wrong_info(sound, tmp_path, data):
    for each, content in sound.items():
        (tmp_path / each).write_bytes(content)
    (tmp_path / INFO).write_text(json.dumps(data.draw(documents(json.loads(sound[INFO])))))
    holds(lambda: read_all(tmp_path), tmp_path, writes=("*.idx",))


@pytest.mark.parametrize("info", [None, [], {"class_names": []}, {"class_names": ["dog"]}, {"splits": [1]}])
def test_found(sound, tmp_path, info):
    for each, content in sound.items():
        (tmp_path / each).write_bytes(content)
    if isinstance(info, dict):
        info = json.loads(sound[INFO]) | info
    (tmp_path / INFO).write_text(json.dumps(info))
    assert holds(lambda: read_all(tmp_path), tmp_path, writes=("*.idx",)) is None
