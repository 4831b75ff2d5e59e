import numpy as np
import pytest
from data.segmentation.folders import COLORS, draw_pair, write_mask, write_pairs
from PIL import Image

from gpvit.data.segmentation.folders import ADE20K, MaskFolder, ade20k_classes
from gpvit.runtime.images import ImageError


@pytest.fixture
def root(tmp_path):
    return write_pairs(tmp_path)


def with_classes(root, text="names: [grass, cat, dog]"):
    (root / "classes.yaml").write_text(text)
    return root


def test_classes_are_found_in_the_masks(root):
    data = MaskFolder(str(root))
    assert data.class_names == ("0", "1", "2")
    assert data.num_classes == len(set(data.colors)) == 3


def test_colours_are_those_of_the_palette(root):
    for path in (root / "masks").rglob("*.png"):
        write_mask(path, np.asarray(Image.open(path)), COLORS)
    assert MaskFolder(root).colors == COLORS


def test_classes_that_are_listed(root):
    assert MaskFolder(root, classes=["grass", "cat", "dog"]).class_names == ("grass", "cat", "dog")
    with_classes(root, "{names: {0: grass, 1: cat, 2: dog}, colors: [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}")
    assert MaskFolder(root).class_names == ("grass", "cat", "dog")
    assert MaskFolder(root).colors == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    (root / "classes.yaml").rename(root / "mine.yaml")
    assert MaskFolder(root, classes=root / "mine.yaml").class_names == ("grass", "cat", "dog")


def test_pairs_are_read_when_asked_for(root):
    data = MaskFolder(root)
    samples = data.samples("val")
    assert [sample.name for sample in samples] == ["0", "2", "deeper/1"]
    for sample, index in zip(samples, (0, 2, 1), strict=True):
        picture, mask = draw_pair(index + 100)
        assert np.array_equal(sample.image, picture)
        assert np.array_equal(sample.mask, mask)
    assert len(data.samples("train")) == 6


def test_masks_in_rgb(root):
    with_classes(
        root, "{names: [a, b, c], colors: [[200, 40, 40], [40, 180, 60], [50, 70, 210]], ignore_color: [0, 0, 0]}"
    )
    for path in (root / "masks").rglob("*.png"):
        labels = np.asarray(Image.open(path))
        table = np.zeros((256, 3), np.uint8)
        table[:3] = COLORS
        Image.fromarray(table[labels]).save(path)
    for sample, index in zip(MaskFolder(root).samples("val"), (0, 2, 1), strict=True):
        assert np.array_equal(sample.mask, draw_pair(index + 100)[1])
    with_classes(root, "{names: [a, b, c], colors: [[200, 40, 40], [40, 180, 60], [0, 0, 0]]}")
    with pytest.raises(ValueError, match=r"masks.val.0\.png: colour \(50, 70, 210\) at row \d+"):
        MaskFolder(root).samples("val")[0]
    (root / "classes.yaml").unlink()
    with pytest.raises(ValueError, match=r"(?s)is a mask in RGB, .*classes\.yaml:\n  names: "):
        MaskFolder(root)


def test_the_names_of_cityscapes(tmp_path):
    for kind, suffixes in (
        ("leftImg8bit", ["_leftImg8bit"]),
        ("gtFine", ["_gtFine_labelTrainIds", "_gtFine_color", "_gtFine_instanceIds"]),
    ):
        for split in ("train", "val"):
            folder = tmp_path / kind / split / "ulm"
            folder.mkdir(parents=True)
            for suffix in suffixes:
                pixels = draw_pair(0)[kind == "gtFine"] if suffix != "_gtFine_color" else draw_pair(0)[0]
                Image.fromarray(pixels).save(folder / f"ulm_000{suffix}.png")
    options = {"images": "leftImg8bit", "masks": "gtFine", "image_suffix": "_leftImg8bit"}
    data = MaskFolder(tmp_path, **options, mask_suffix="_gtFine_labelTrainIds")
    assert [sample.name for sample in data.samples("val")] == ["ulm/ulm_000"]
    with pytest.raises(FileNotFoundError, match="no image has a name that ends with '_labels'"):
        MaskFolder(tmp_path, **options, mask_suffix="_labels")


def test_a_picture_without_a_mask_is_named_and_the_other_way_round(root):
    (root / "masks/train/deeper/3.png").unlink()
    data = MaskFolder(root)
    with pytest.raises(ValueError, match=r"images.train.deeper.3\.png: images without a mask .*image_suffix"):
        data.setup("fit")
    (root / "images/train/deeper/3.png").unlink()
    for index in (0, 2, 4):
        (root / f"images/train/{index}.png").unlink()
    (root / "images/train/deeper/1.png").unlink()
    with pytest.raises(ValueError, match=r"train.0\.png, .*2\.png, .*4\.png and 1 more: masks without an image"):
        data.setup("fit")


def test_two_pictures_of_one_name(root):
    (root / "images/val/0.png").with_suffix(".jpg").write_bytes((root / "images/val/0.png").read_bytes())
    with pytest.raises(ValueError, match=r"0\.(png|jpg) and .*0\.(png|jpg) have the same name"):
        MaskFolder(root).setup("validate")


def test_an_empty_validation_set(root):
    for kind in ("images", "masks"):
        for file in (root / kind / "val").rglob("*.png"):
            file.unlink()
    with pytest.raises(FileNotFoundError, match=r"masks.val holds no image"):
        MaskFolder(root)
    with_classes(root)
    with pytest.raises(FileNotFoundError, match=r"images.val holds no image"):
        MaskFolder(root).setup("fit")
    (root / "images/val").rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"images.val: no such folder; images belong into ROOT/images/train/"):
        MaskFolder(root).setup("fit")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; images belong"):
        MaskFolder(root / "nowhere")


def test_validation_alone_can_be_evaluated(root):
    for kind in ("images", "masks"):
        (root / kind / "train").rename(root / f"{kind}-elsewhere")
    data = MaskFolder(root, num_workers=0)
    data.setup("validate")
    assert len(list(data.test_dataloader())) == 3
    with pytest.raises(FileNotFoundError, match="train: no such folder"):
        data.setup("fit")


def test_a_mask_of_another_size_is_named(root):
    write_mask(root / "masks/val/0.png", draw_pair(0, (40, 55))[1])
    with pytest.raises(ValueError, match=r"images.val.0\.png is 56x40 .*masks.val.0\.png 55x40, width by height"):
        MaskFolder(root).samples("val")[0]


@pytest.mark.filterwarnings("ignore:masks drawn on images as they are before")
@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
def test_a_mask_is_turned_with_its_image_if_it_was_drawn_before(root, orientation):
    picture, _ = draw_pair(100)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(root / "images/val/0.png", exif=exif)
    sample = MaskFolder(root).samples("val")[0]
    assert sample.image.size == sample.mask.shape[::-1] == ((56, 40) if orientation == 1 else (40, 56))
    colored = np.array(COLORS, np.uint8)[sample.mask % 255]
    assert np.array_equal(np.asarray(sample.image)[sample.mask != 255], colored[sample.mask != 255])


def test_a_label_outside_the_classes_is_named(root):
    with pytest.raises(ValueError, match=r"masks.val.2\.png: label 2 .*allowed are 0 to 1"):
        MaskFolder(root, classes=["grass", "cat"]).samples("val")[1]


def test_a_folder_of_another_layout(root):
    (root / "masks").rename(root / "labels")
    with pytest.raises(
        FileNotFoundError,
        match=r"masks: no such folder; images belong into ROOT/images/train/.* holds the folders images, labels",
    ):
        MaskFolder(root)
    (root / "labels").rename(root / "masks")
    for split in ("train", "val"):
        (root / "masks" / split).rename(root / "masks" / f"{split}ing")
    with pytest.raises(
        FileNotFoundError,
        match=r"masks.val: no such folder; images belong into ROOT/images/train/.* folders training, valing",
    ):
        MaskFolder(root)


def test_no_classes_to_be_found(root):
    for path in (root / "masks").rglob("*.png"):
        write_mask(path, np.full((40, 56), 255, np.uint8))
    with pytest.raises(ValueError, match=r"9 masks, such as .* hold 255 only, so no second class"):
        MaskFolder(root)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ImageError, match=path.name):
        MaskFolder(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [grass, cat", r"yaml: while parsing a flow sequence(?s:.*)look like\n  names: .*\n  colors: "),
        ("[grass, cat]", r"holds \['grass', 'cat'\]; give 'names'"),
        ("{names: [grass, cat], colours: []}", r"'colours': \[\].*; give 'names', and nothing but .*colors"),
        ("names: {1: grass, 2: cat}", r"names {1: 'grass', 2: 'cat'}; .* from 0 .*reduce_zero_label"),
        ("names: grass", "names 'grass'; give a list"),
        ("names: [grass]", "2 or more"),
        ("{names: [a, b], colors: [[0, 0, 0]]}", "1 colours for 2 classes"),
        ("{names: [a, b], colors: [[0, 0, 0], [0, 0, 256]]}", r"colour \[0, 0, 256\]"),
        ("{names: [a, b], colors: [[0, 0, 0], [0, 0, 0]]}", "stands twice"),
        ("{names: [a, b], ignore_index: none}", "ignore_index 'none'"),
        ("{names: [a, b], reduce_zero_label: 1}", "reduce_zero_label 1: give true or false"),
        ("{names: [a, b], colors: 5}", "yaml: .*int"),
    ],
)
def test_a_list_of_classes_that_is_wrong(root, text, message):
    with pytest.raises(ValueError, match=message):
        MaskFolder(with_classes(root, text))
    with pytest.raises(FileNotFoundError, match=r"other\.yaml: no such file; it lists the classes"):
        MaskFolder(root, classes=root / "other.yaml")


@pytest.fixture
def ade20k(tmp_path):
    for split, stem in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        for kind in ("images", "annotations"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.new("RGB", (60, 40), (90, 120, 30)).save(tmp_path / "images" / split / f"{stem}.jpg")
        labels = np.arange(40 * 60).reshape(40, 60) % 151
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "annotations" / split / f"{stem}.png")
    return tmp_path


def test_the_classes_of_ade20k():
    names = ade20k_classes()
    assert len(names) == len(set(names)) == 150
    assert (names[0], names[12], names[44], names[149]) == ("wall", "person", "chest of drawers", "flag")


def test_ade20k_as_it_is_released(ade20k):
    data = ADE20K(ade20k, num_workers=0, batch_size=1)
    assert data.class_names == ade20k_classes()
    assert len(set(data.colors)) == 150
    (sample,) = data.samples("val")
    assert sample.name == "ADE_val_00000001"
    assert sample.mask[0, :4].tolist() == [255, 0, 1, 2]
    assert sample.mask.ravel()[150] == 149
    data.setup("fit")
    ((images, masks),) = data.val_dataloader()
    assert images.shape == (1, 3, 512, 768)
    assert masks.shape == (1, 40, 60)
    ((images, masks),) = data.train_dataloader()
    assert images.shape == (1, 3, 512, 512)
    assert masks.shape == (1, 512, 512)


def test_a_folder_that_is_not_ade20k(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no folder images and no annotations; .*ADEChallengeData2016"):
        ADE20K(tmp_path)
