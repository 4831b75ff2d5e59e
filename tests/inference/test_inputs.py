from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpvit.inference.inputs import Images, image_names


def test_images_at_an_address_are_listed_as_people_count_and_read(tmp_path):
    for number in (10, 2, 1):
        Image.new("RGB", (number, 5), "red").save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    images = Images([str(tmp_path / "2.png"), tmp_path.as_uri(), f"{tmp_path.as_uri()}/1*.png"])
    assert [Path(name).stem for name in images.names] == ["2", "1", "2", "10", "1", "10"]
    assert images[0] == str(tmp_path / "2.png")
    assert np.asarray(images[3]).shape == (5, 10, 3)
    with pytest.raises(FileNotFoundError, match="holds no image"):
        Images([f"{tmp_path.as_uri()}/*.jpg"])


def test_images_are_numbered_by_their_names_if_all_are_numbers(tmp_path):
    for name in ("007.png", "21.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    assert Images([str(tmp_path)]).image_ids() == [7, 21]
    Image.new("L", (4, 4)).save(tmp_path / "b.png")
    assert Images([str(tmp_path)]).image_ids() == [1, 2, 3]


@pytest.mark.parametrize(
    "sources",
    [
        ["a/cat.jpg", "b/cat.png", "dog.jpg", "c/cat.jpg"],
        ["cat.jpg", "cat_x-2.jpg", "a/cat.jpg"],
        ["cat.jpg", "a/cat.jpg", "cat-2.jpg", "b/cat-2.jpg"],
        ["Cat.jpg", "cat.jpg"],
    ],
)
def test_files_never_share_a_name(sources):
    names = image_names(list(map(Path, sources)), "_x")
    assert len({name.lower() for name in names}) == len(sources)
    assert all(name.startswith(Path(source).stem) for name, source in zip(names, sources, strict=True))
    assert not set(names) & {Path(source).name for source in sources}
