import numpy as np
import pytest
from data.detection.folders import image, text, write_yolo
from PIL import Image

from gpvit.data.detection import ObjectFolder, YOLOFolder
from gpvit.errors import UserError

SQUARE = "1 0.125 0.25 0.375 0.25 0.375 0.75 0.125 0.75"


def opened(root, content, masks=False, classes="cat\ndog\n", **options):
    return ObjectFolder(write_yolo(root, content, classes), masks, num_workers=0, **options)


def test_boxes_are_parts_of_the_image(tmp_path):
    annotations = opened(tmp_path, "1 0.5 0.5 0.25 0.5\n0 0.25 0.25 0.5 0.5\n").annotations("val")
    assert annotations.boxes.tolist() == [[24, 12, 40, 36], [0, 0, 32, 24]]
    assert annotations.labels.tolist() == [2, 1]
    assert annotations.categories.names == ("cat", "dog")


def test_polygons_are_masks(tmp_path):
    data = opened(tmp_path, SQUARE, masks=True)
    data.setup("validate")
    _, target = data.val_set[0]
    expected = np.zeros((48, 64), np.uint8)
    expected[12:36, 8:24] = 1
    assert (target["masks"][0].numpy() == expected).all()
    assert target["boxes"].tolist() == [[8, 12, 24, 36]]
    assert target["area"].tolist() == [16 * 24]
    assert opened(tmp_path, SQUARE).annotations("val").boxes.tolist() == [[8, 12, 24, 36]]
    with pytest.raises(UserError, match=r"line 2: is a box alone, without the polygon(?s:.*)set masks: false"):
        opened(tmp_path, f"{SQUARE}\n0 0.5 0.5 0.2 0.2", masks=True)


def test_an_image_that_is_turned_is_annotated_upright(tmp_path):
    write_yolo(tmp_path, "0 0.5 0.25 0.5 0.5")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(tmp_path / "images" / "val" / "1.jpg", exif=exif)
    (tmp_path / "images" / "val" / "1.png").unlink()
    data = YOLOFolder(tmp_path, masks=False, num_workers=0)
    assert data.annotations("val").boxes.tolist() == [[12, 0, 36, 32]]
    data.setup("validate")
    assert data.val_set[0][0].shape == (3, 64, 48)


@pytest.mark.parametrize(
    "content",
    [
        "0 0.5 0.5 0.25 0.5".encode("utf-16"),
        "0 0.5 0.5 0.25 0.5\r\n\r\n".encode("utf-8-sig"),
        "  0.0\t0.5   .5 2.5e-1 +0.5  ",
    ],
)
@pytest.mark.filterwarnings("error")
def test_encodings_and_spaces(content, tmp_path):
    assert opened(tmp_path, content).annotations("val").boxes.tolist() == [[24, 12, 40, 36]]


@pytest.mark.filterwarnings("error")
def test_an_empty_text_is_an_image_without_objects(tmp_path):
    data = opened(tmp_path, "")
    assert len(data.annotations("val")) == 1
    assert data.annotations("val").boxes.shape == (0, 4)


def test_pixels_are_told_apart(tmp_path):
    pixels = "0 32 24 16 24\n1 56 40 16 16\n0 50 24 28 40\n"
    with pytest.warns(UserWarning, match=r"coordinates in pixels, as centre, width and height \(1, first .*, line 1\)"):
        annotations = opened(tmp_path, pixels).annotations("val")
    assert annotations.boxes.tolist() == [[24, 12, 40, 36], [48, 32, 64, 48], [36, 4, 64, 44]]
    with pytest.raises(UserError, match=r"reach beyond 1, first in .*1.txt, line 1, and may be pixels: x, y, width"):
        opened(tmp_path, "0 32 24 8 8")
    with pytest.raises(UserError, match="are no pixels of their images either"):
        opened(tmp_path, "0 32 24 80 90")
    with pytest.raises(UserError, match="line 2: '0 32 24 16 24' is no part of the image, as other lines are"):
        opened(tmp_path, "0 0.5 0.5 0.25 0.5\n0 32 24 16 24")


def test_a_box_that_reaches_over_the_border_is_cut_off(tmp_path):
    with pytest.warns(UserWarning, match="boxes that reach over the border of their image, cut off there"):
        annotations = opened(tmp_path, "0 0.95 0.5 0.3 1.04").annotations("val")
    np.testing.assert_allclose(annotations.boxes, [[51.2, 0, 64, 48]], atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2 0.5 0.5 0.25 0.5", "line 1: class 2 is not in the list of 2 classes, 0 to 1"),
        ("-1 0.5 0.5 0.25 0.5", "class -1 is not in the list"),
        ("0.5 0.5 0.5 0.25 0.5", "class 0.5 is not in the list"),
        ("\n0 0.5 0.5 0.25", "line 2: '0 0.5 0.5 0.25' has 4 columns; a line is 'class x y width height', or"),
        ("0 0.5 0.5 0.25 0.5 0.9", "has 6 columns; it looks like a prediction with its score"),
        ("0,0.5,0.5,0.25,0.5", "has 1 columns"),
        ("cat 0.5 0.5 0.25 0.5", "holds what is no finite number"),
        ("0 0.5 0.5 nan 0.5", "holds what is no finite number"),
        ("0 0.5 0.5 0 0.5", "has no area"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3", "with an area"),
        ("0 0.5 0.5 0.25 0.5".encode("utf-16")[2:], "holds what is no finite number"),
        (b"\xff 0.5", "1.txt is no text in UTF-8 or UTF-16; save it as UTF-8"),
    ],
)
def test_what_cannot_be_used_is_refused_by_file_and_line(content, message, tmp_path):
    with pytest.raises(UserError, match=message) as raised:
        opened(tmp_path, content)
    assert str(tmp_path) in str(raised.value)


def test_what_cannot_be_used_may_be_left_out(tmp_path):
    with pytest.warns(UserWarning, match="They are left out"):
        data = opened(tmp_path, "7 0.5 0.5 0.25 0.5\n0 0.5 0.5 0.25 0.5", drop_invalid=True)
    assert len(data.annotations("val").labels) == 1


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("names: [no, 08]\nnc: 2", ("no", "08")),
        ("names: {1: dog, 0: cat}", ("cat", "dog")),
        ("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n", ("cat", "dog")),
    ],
)
def test_classes_of_yaml(content, names, tmp_path):
    text(tmp_path / "data.yaml", content)
    assert opened(tmp_path, SQUARE, classes=None).class_names == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names: {0: cat, 2: dog}", "names is {0: 'cat', 2: 'dog'}; give a list, or a name of each number"),
        ("names: cat", "names is 'cat'"),
        ("nc: 2", "names is None"),
        ("names: [cat, dog]\nnc: 3", "nc is 3 and there are 2 names"),
        ("names: [cat, dog]\nkpt_shape: [4, 2]", "kpt_shape says that the labels are of poses"),
        ("names: [cat, cat]", "cat"),
        ("[", "data.yaml"),
    ],
)
def test_wrong_classes_are_named(content, message, tmp_path):
    text(tmp_path / "data.yaml", content)
    with pytest.raises(UserError, match=message) as raised:
        opened(tmp_path, SQUARE, classes=None)
    assert "data.yaml" in str(raised.value)


def test_lists_of_classes_must_agree(tmp_path):
    text(tmp_path / "labels" / "train" / "classes.txt", "dog\ncat\n")
    with pytest.raises(UserError, match=r"classes.txt and .*train.classes.txt list other classes"):
        opened(tmp_path, SQUARE)


def test_without_a_list_of_classes_the_message_says_where_to_write_it(tmp_path):
    with pytest.raises(UserError, match=r"lists no classes: write their names, .*classes.txt, one a line"):
        opened(tmp_path, SQUARE, classes=None)
    with pytest.raises(UserError, match="lists no classes"):
        opened(tmp_path, SQUARE, classes="\n")


def test_images_side_by_side_with_texts(tmp_path):
    for part in ("train", "valid"):
        image(tmp_path / part / "1.png")
        text(tmp_path / part / "1.txt", SQUARE)
        text(tmp_path / part / "classes.txt", "cat\ndog\n")
    assert ObjectFolder(tmp_path, num_workers=0).annotations("val").labels.tolist() == [2]
