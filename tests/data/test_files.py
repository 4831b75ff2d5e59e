import pytest

from gpvit.data.files import list_images


def test_list_images_of_files_folders_and_patterns(tmp_path):
    for name in ("b.png", "a.JPG", "deep/er/c.tiff", "deep/d.webp", "notes.txt", "other/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def names(inputs):
        return [path.relative_to(tmp_path).as_posix() for path in list_images(inputs)]

    assert names([tmp_path]) == ["a.JPG", "b.png", "deep/d.webp", "deep/er/c.tiff", "other/e.png"]
    assert names(str(tmp_path / "*.png")) == ["b.png"]
    assert names([tmp_path / "**/*.png"]) == ["b.png", "other/e.png"]
    assert names([tmp_path / "d*"]) == ["deep/d.webp", "deep/er/c.tiff"]
    assert names([tmp_path / "notes.txt", tmp_path / "b.png"]) == ["notes.txt", "b.png"]
    assert names([tmp_path / "b.png", tmp_path]) == ["b.png", "a.JPG", "deep/d.webp", "deep/er/c.tiff", "other/e.png"]


def test_list_images_counts_as_people_do(tmp_path):
    names = ["1.png", "02.png", "2.png", "10.png", "clip 2/frame9.png", "clip 2/frame10.png", "clip 10/frame1.png"]
    names += ["frame2.png", "frame2a3.png", "frame2a20.png", "frame2a.png", "frame10.png", "frame²3.png"]
    for name in reversed(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for entry in (tmp_path, tmp_path / "**/*.png"):
        assert [path.relative_to(tmp_path).as_posix() for path in list_images(entry)] == names


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    path = tmp_path / "image[1].png"
    path.write_bytes(b"")
    assert list_images([path]) == [path]


@pytest.mark.parametrize(
    ("name", "message"), [("absent.png", "no such"), ("*.gif", "matches nothing"), ("empty", "holds no image")]
)
def test_list_images_of_nothing(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("words")
    with pytest.raises(FileNotFoundError, match=message) as error:
        list_images([tmp_path / name])
    assert str(tmp_path / name) in str(error.value)
    with pytest.raises(ValueError, match="no image was given"):
        list_images([])
