import numpy as np
import pytest
from data.detection.folders import OBJECT, SIZE, image, text, write_voc, xml

from gpvit.data.detection import ObjectFolder, VOCFolder
from gpvit.errors import UserError

CAT = ("cat", 8, 8, 24, 24)


def opened(root, content, **options):
    train = options.pop("train", None)
    return ObjectFolder(write_voc(root, content, train), masks=False, num_workers=0, **options)


def boxes(root, content, **options):
    return opened(root, content, **options).annotations("val").boxes.tolist()


def test_corners_are_edges_in_pixels_from_the_corner_of_the_image(tmp_path):
    """Also in files that count from 1, as the original ones do: the rule is that of most trainers."""
    data = opened(tmp_path, xml(("dog", 1, 1, 64, 48), ("cat", 10.5, 20, 30.25, 40)))
    annotations = data.annotations("val")
    assert annotations.boxes.tolist() == [[1, 1, 64, 48], [10.5, 20, 30.25, 40]]
    assert data.class_names == ("cat", "dog")
    assert annotations.labels.tolist() == [2, 1]
    assert np.isnan(annotations.areas).all()
    assert not annotations.crowds.any()
    data.setup("fit")
    sample, target = data.val_set[0]
    assert sample.shape == (3, 48, 64)
    assert target["area"].tolist() == [63 * 47, 19.75 * 20]


def test_difficult_objects_are_as_crowds_and_truncated_ones_like_any_other(tmp_path):
    flags = "<difficult>{}</difficult><truncated>{}</truncated>"
    content = xml((*CAT, flags.format(1, 0)), (*CAT, flags.format("Unspecified", 1)), (*CAT, flags.format(0, "")))
    with pytest.warns(UserWarning, match="is read as it is meant") as warned:
        data = opened(tmp_path, content)
    assert data.annotations("val").crowds.tolist() == [True, False, False]
    (message,) = [str(each.message) for each in warned]
    assert "difficult objects, neither learned nor scored (1, first 1.png)" in message
    assert "truncated objects, kept like any other (1, first 1.png)" in message


@pytest.mark.parametrize(
    ("content", "expected", "said"),
    [
        (xml(CAT, size=""), [8, 8, 24, 24], "files without the size of their image, which is read from it"),
        (xml(CAT, size=SIZE.replace("64", "0")), [8, 8, 24, 24], "files without the size"),
        (xml(("cat", 24, 24, 8, 8)), [8, 8, 24, 24], "corners of boxes, put in order"),
        (xml(("cat", -5, 8, 24, 60.5)), [0, 8, 24, 48], "boxes that reach over the border"),
        (xml(("cat", -0.5, 8, 24, 48.5)), [0, 8, 24, 48], None),
        (xml((" cat\n", " 8 ", "8.0", "2.4e1", 24)), [8, 8, 24, 24], None),
        (f"<?xml version='1.0'?>\r\n<!-- a comment -->\r\n{xml(CAT)}\r\n", [8, 8, 24, 24], None),
        (f"<?xml version='1.0' encoding='UTF-16'?>{xml(CAT)}".encode("utf-16"), [8, 8, 24, 24], None),
        (f"<?xml version='1.0' encoding='cp1252'?>{xml(('cät', 8, 8, 24, 24))}".encode("cp1252"), [8, 8, 24, 24], None),
        (xml(CAT).encode("utf-8-sig"), [8, 8, 24, 24], None),
        (xml((*CAT, "<part><name>head</name></part>")), [8, 8, 24, 24], None),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_tools_write_is_read_as_it_is_meant(content, expected, said, tmp_path):
    if said is None:
        assert boxes(tmp_path, content) == [expected]
    else:
        with pytest.warns(UserWarning, match=said):
            assert boxes(tmp_path, content) == [expected]


BOMB = "<!DOCTYPE annotation [<!ENTITY a '1234'><!ENTITY b '&a;&a;&a;'>]>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB + xml(("&b;", 8, 8, 24, 24)), "1.xml: has a DOCTYPE, which may declare entities; remove it"),
        ("", "1.xml is no XML, or is cut short; it is empty"),
        (xml(CAT)[:90], "1.xml is no XML, or is cut short: "),
        (b"<?xml version='1.0' encoding='nothing'?><annotation/>", "1.xml is no XML"),
        ("<annotations/>", "its element is 'annotations'"),
        (xml(CAT, size="<size><width>6,4</width></size>"), "1.xml: width is '6,4'; it takes a whole number of pixels"),
        (xml(("cat", 8, 8, "", 24)), r"1.xml: object 1: xmax is ''; it takes a finite number of pixels"),
        (xml(("cat", 8, 8, "nan", 24)), "xmax is 'nan'"),
        (xml(("cat", 8, 8, "1e400", 24)), "xmax is '1e400'"),
        (xml((*CAT, "<difficult>maybe</difficult>")), "difficult is 'maybe'; it takes 0 or 1"),
        (xml(("", 8, 8, 24, 24)), "object 1: name is ''; it takes a text"),
        (
            xml(CAT, ("cat", 8, 8, 8, 24)),
            r"object 2: bbox \[8.0, 8.0, 8.0, 24.0\] \(left, top, right, bottom\) has no area",
        ),
        (xml(("cat", 70, 8, 80, 24)), "lies outside its image of 64x48"),
        (xml(("cat", 0.1, 0.2, 0.5, 0.6)), "looks like parts of its image"),
    ],
)
def test_what_cannot_be_used_is_refused_by_file_and_value(content, message, tmp_path):
    with pytest.raises(UserError, match=message) as raised:
        boxes(tmp_path, content)
    assert str(tmp_path) in str(raised.value)


def test_other_numbers_than_corners_are_refused(tmp_path):
    sizes = [("cat", 30, 30, 20, 17), ("cat", 40, 5, 20, 9), ("cat", 2, 2, 6, 5)]
    with pytest.raises(
        UserError, match="val: 2 of 3 boxes do not fit their images, and all do as x, y, width, height; a b"
    ):
        boxes(tmp_path, xml(*sizes))
    with pytest.raises(UserError, match="2 of 3 boxes do not fit their images, and all do as top, left, bottom, right"):
        boxes(tmp_path, xml(("cat", 8, 8, 24, 60), ("cat", 8, 8, 24, 62), ("cat", 1, 30, 47, 35)))


def test_what_cannot_be_used_may_be_left_out(tmp_path):
    content = xml(CAT, ("cat", 8, 8, 8, 24))
    with pytest.warns(UserWarning, match="1 annotations cannot be used(?s:.*)They are left out"):
        assert boxes(tmp_path, content, drop_invalid=True) == [[8, 8, 24, 24]]


def test_masks_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"boxes, no masks; set masks: false \(--data.masks false\) and take a Retina"):
        VOCFolder(write_voc(tmp_path, xml(CAT)))


def test_classes_in_two_spellings_are_named(tmp_path):
    with pytest.warns(UserWarning, match=r"several spellings are classes of their own: 'Cat' \(1\), 'cat' \(1\)"):
        data = opened(tmp_path, xml(("Cat", 8, 8, 24, 24), ("dog", 8, 8, 9, 9)), train=xml(CAT))
    assert data.class_names == ("Cat", "cat", "dog")


def test_a_list_of_classes_says_their_order(tmp_path):
    text(tmp_path / "classes.txt", "dog\ncat\n")
    assert opened(tmp_path, xml(CAT)).class_names == ("dog", "cat")
    with pytest.raises(UserError, match="name is 'cart', which is no class; did you mean cat"):
        opened(tmp_path, xml(("cart", 8, 8, 24, 24)))


def test_a_damaged_file_of_training_is_told_when_it_is_needed(tmp_path):
    data = opened(tmp_path, xml(CAT), train="<annotation>")
    assert data.class_names == ("cat",)
    with pytest.raises(UserError, match=r"train.1.xml is no XML"):
        data.setup("fit")


def test_images_are_turned_upright_and_must_have_the_size_that_is_given(tmp_path):
    data = opened(tmp_path, xml(CAT))
    image(tmp_path / "val" / "1.png", (48, 64))
    data.setup("validate")
    with pytest.raises(UserError, match=r"1.png has 48x64 pixels, its annotations 64x48; .*EXIF"):
        data.val_set[0]


def test_an_object_may_stand_anywhere_in_the_file(tmp_path):
    content = f"<annotation>{OBJECT.format(*CAT, '<bndbox/>')}{SIZE}</annotation>"
    assert boxes(tmp_path, content) == [[8, 8, 24, 24]]
