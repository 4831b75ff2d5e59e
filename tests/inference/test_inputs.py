from pathlib import Path

import pytest

from gpvit.inference.figures import new_figure, picture_names, save_figure


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "figure.png"
    save_figure(new_figure(1, 1, dpi=20), path)
    before = path.read_bytes()
    broken = new_figure(1, 1, dpi=20)
    broken.text(0, 0, "$\\nonsense$")
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "sources",
    [
        ["a/cat.jpg", "b/cat.png", "dog.jpg", "c/cat.jpg"],
        ["cat.jpg", "cat_x-2.jpg", "a/cat.jpg"],
        ["cat.jpg", "a/cat.jpg", "cat-2.jpg", "b/cat-2.jpg"],
        ["Cat.jpg", "cat.jpg"],
    ],
)
def test_pictures_never_share_a_name(sources):
    names = picture_names(list(map(Path, sources)), "_x")
    assert len({name.lower() for name in names}) == len(sources)
    assert all(name.startswith(Path(source).stem) for name, source in zip(names, sources, strict=True))
    assert not set(names) & {Path(source).name for source in sources}
