import numpy as np
import pytest
from data.segmentation.folders import COLORS, draw_pair, write_mask, write_pairs
from PIL import Image

from gpvit.data.segmentation import MaskClasses, MaskFolder
from gpvit.data.segmentation.classes import find_classes, read_classes


@pytest.fixture
def root(tmp_path):
    return write_pairs(tmp_path)


def rewrite(root, change):
    for number, path in enumerate(sorted((root / "masks").rglob("*.png"))):
        change(np.asarray(Image.open(path)), path, number)


def black_white(labels, path, _):
    Image.fromarray(np.uint8(255) * (labels == 1)).save(path)


def ordered_anew(labels, path, number):
    order = [0, 1, 2] if number % 2 else [2, 0, 1]
    write_mask(path, np.array(order, np.uint8)[labels % 255], tuple(COLORS[order.index(place)] for place in range(3)))


@pytest.mark.parametrize("classes", [None, ["a", "b"], ["a", "b", "c"]])
def test_masks_of_black_and_white_are_refused_with_the_line_to_write(root, classes):
    rewrite(root, black_white)
    with pytest.raises(ValueError, match=r"9 masks, .* hold 0 and 255 only(?s:.*)colors: ") as error:
        MaskFolder(root, classes=classes)
    line = str(error.value).partition("classes.yaml:\n")[2]
    if classes != ["a", "b", "c"]:
        assert str(classes or ["background", "object"]).replace("'", '"') in line
    (root / "classes.yaml").write_text(line)
    for sample, index in zip(MaskFolder(root).samples("val"), (0, 2, 1), strict=True):
        assert np.array_equal(sample.mask, draw_pair(index + 100)[1] == 1)


@pytest.mark.parametrize("classes", [None, ["a", "b", "c"]])
def test_palettes_that_differ_are_refused_or_read_by_colour(root, classes):
    rewrite(root, ordered_anew)
    with pytest.raises(ValueError, match="have different palettes: index 0 is"):
        MaskFolder(root, classes=classes)
    data = MaskFolder(root, classes=MaskClasses(("a", "b", "c"), COLORS))
    for sample, index in zip(data.samples("val"), (0, 2, 1), strict=True):
        assert np.array_equal(sample.mask, draw_pair(index + 100)[1] % 255)


def test_a_palette_that_differs_later_is_found_as_masks_are_read(root, monkeypatch):
    monkeypatch.setattr("gpvit.data.segmentation.classes._ENOUGH", 1)
    rewrite(root, ordered_anew)
    data = MaskFolder(root, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="different palettes"):
        list(data.samples("val"))


def test_masks_without_a_second_class_in_one_part_are_no_mistake(root):
    for path in (root / "masks/val").rglob("*.png"):
        write_mask(path, np.uint8(255) * (np.asarray(Image.open(path)) > 0))
    assert set(np.unique(MaskFolder(root, classes=["a", "b", "c"]).samples("val")[0].mask)) == {0, 255}


def test_classes_with_many_gaps_are_not_made_up(root):
    rewrite(root, lambda labels, path, _: write_mask(path, np.array([0, 127, 254], np.uint8)[labels % 255]))
    with pytest.raises(ValueError, match=r"hold the labels \[0, 127, 254\]"):
        MaskFolder(root)


@pytest.mark.parametrize("name", ["classes.yaml", "classes.yml"])
def test_the_file_beside_the_masks(root, name):
    (root / name).write_text("names: [no, 08, off]")
    assert MaskFolder(root).class_names == ("no", "08", "off")


def test_names_are_the_texts_that_are_written(tmp_path):
    path = tmp_path / "classes.yaml"
    for text in ("[no, 08, 1e-4, 2024-01-01, 1.0, null]", "{0: no, 1: 08, 2: 1e-4, 3: 2024-01-01, 4: 1.0, '5': null}"):
        path.write_text(f"names: {text}\nignore_index: 254")
        classes = read_classes(path)
        assert classes.names == ("no", "08", "1e-4", "2024-01-01", "1.0", "null")
        assert classes.ignore_index == 254


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b]\nnames: [a, c]", r"'names' stands twice(?s:.*)line 2"),
        ("names: {0: a, 1: b, 1: c}", "1 stands twice"),
        ("names: [a, [b]]", r"names \['a', \['b'\]\]; give a list of texts"),
        ("names: [a, '']", "give a list of texts"),
        ("names: !!set {a, b}", "give a list of texts"),
        ("{names: [a, b], reduce_zero_label: no}", "reduce_zero_label 'no': give true or false"),
        ("{names: [a, b], ignore_index: 08}", "ignore_index '08'"),
        ("{names: [a, b], ignore_index: 1.0}", "ignore_index 1.0"),
        ("{names: [a, b], ignore_color: [0, 0, 0]}", "list 'colors', too"),
        ("{names: [a, b], colors: [[0, 0, 0], [1, 1, 1]], ignore_color: [0, 0, 0]}", "is the colour of a class, too"),
        ("{names: [a, b], colors: ['#000000', '#ffffff']}", "colour '#000000'; give"),
        ("names: &a [*a]", "give a list of texts"),
        ("", "holds None"),
    ],
)
def test_a_list_that_is_refused_names_file_and_entry(tmp_path, text, message):
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"classes\.yaml: (?s:.*){message}(?s:.*)should look like\n  names: "):
        read_classes(path)


def test_found_classes_have_the_colours_of_all_palettes(tmp_path):
    paths = [write_mask(tmp_path / f"{k}.png", np.array([[0, k]], np.uint8), COLORS) for k in (1, 2)]
    assert find_classes(paths).colors == COLORS
