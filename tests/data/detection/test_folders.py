import json
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from PIL import Image

from gpvit.data.detection import COCO, CocoFolder
from gpvit.data.stats import count_objects
from gpvit.data.transforms.detection import DetectionAugmentation
from gpvit.runtime.images import ImageError

SMALL = DetectionAugmentation(short_sides=(48, 64), long_side=120)
COLORS = {1: (40, 200, 40), 2: (40, 40, 200), 3: (200, 40, 40)}  # of square, bar and disc


def folder(root, **options):
    return CocoFolder(root, **{"augmentation": SMALL, "batch_size": 2, "num_workers": 0, **options})


def assert_shows_its_objects(image, target):
    for label, mask in zip(target["labels"].tolist(), target["masks"].bool(), strict=True):
        color = image[:, mask].median(dim=1).values * 255
        assert (color - torch.tensor(COLORS[label])).abs().max() < 3 or mask.sum() < 20  # nearly all border


def test_facts_are_known_before_setup(coco_root):
    data = folder(str(coco_root))
    assert data.class_names == ("square", "bar", "disc")
    assert data.categories.ids == (7, 12, 44)
    assert data.num_classes == 3
    assert len(set(data.colors)) == 3
    assert data.masks


def test_training_annotations_with_other_ids_are_matched_by_name(coco_root, change):
    plain = folder(coco_root).annotations("train")
    ids = {7: 3, 12: 9, 44: 1}  # disc comes first

    def renumber(document):
        for entry in document["categories"]:
            entry["id"] = ids[entry["id"]]
        for entry in document["annotations"]:
            entry["category_id"] = ids[entry["category_id"]]

    change(renumber, "train")
    with pytest.warns(UserWarning, match="matched by name"):
        changed = folder(coco_root).annotations("train")
    assert len(set(plain.labels.tolist())) == 3
    assert changed.labels.tolist() == plain.labels.tolist()


def test_paths_may_begin_with_the_home_folder(coco_root, monkeypatch):
    monkeypatch.setenv("HOME", str(coco_root.parent))
    options = {"val_images": "~/shapes/val", "val_annotations": "$HOME/shapes/annotations/val.json"}
    assert len(folder("~/shapes", **options).samples("val")) == 5


@pytest.mark.parametrize("num_workers", [0, 2])
def test_validation_gives_every_image_as_it_is(coco_root, num_workers):
    data = folder(coco_root, num_workers=num_workers)
    data.setup("validate")
    assert data.train_set is None
    pairs = [pair for batch in data.val_dataloader() for pair in zip(*batch, strict=True)]
    assert [target["image_id"] for _, target in pairs] == [1000, 997, 994, 991, 988]
    document = json.loads((coco_root / "annotations" / "val.json").read_text())
    for (image, target), entry in zip(pairs, document["images"], strict=True):
        annotations = [one for one in document["annotations"] if one["image_id"] == entry["id"]]
        count = len(annotations)
        assert image.shape == (3, entry["height"], entry["width"])
        assert image.dtype == target["boxes"].dtype == target["area"].dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert target["boxes"].shape == (count, 4)
        assert target["masks"].shape == (count, *image.shape[1:])
        assert target["masks"].dtype == torch.uint8
        assert target["labels"].dtype == target["iscrowd"].dtype == torch.int64
        assert target["area"].tolist() == [one["area"] for one in annotations]
        assert target["iscrowd"].tolist() == [one["iscrowd"] for one in annotations]
        assert {type(value) for value in (image, *target.values())} == {torch.Tensor, int}
        assert_shows_its_objects(image, target)
    assert sum(int(target["iscrowd"].sum()) for _, target in pairs) == 1


def test_training_varies_and_leaves_out_crowds(coco_root):
    data = folder(coco_root, batch_size=3)
    data.setup("fit")
    sizes = set()
    for epoch in range(3):
        loader = data.train_dataloader()
        loader.batch_sampler.set_epoch(epoch)
        loaded = list(loader)
        assert len(loaded) == 3
        for images, targets in loaded:
            assert len(images) == len(targets) == 3
            for image, target in zip(images, targets, strict=True):
                sizes.add(tuple(image.shape[1:]))
                assert image.dtype == torch.float32
                assert not target["iscrowd"].any()
                assert torch.equal(target["area"], target["masks"].flatten(1).sum(1).float())
                assert_shows_its_objects(image, target)
    assert len(sizes) > 6


def test_reading_changes_nothing(coco_root):
    data = folder(coco_root)
    data.setup("fit")
    before = data.annotations("train").boxes.copy()
    for _ in range(3):
        list(data.train_dataloader())
    assert (data.annotations("train").boxes == before).all()


def test_boxes_alone(coco_root, change):
    change(lambda document: [entry.pop("segmentation") for entry in document["annotations"]])
    change(lambda document: [entry.pop("area") for entry in document["annotations"]])
    with pytest.raises(ValueError, match=r"segmentation is None"):
        folder(coco_root)
    data = folder(coco_root, masks=False)
    data.setup("fit")
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for _, targets in loader:
            for target in targets:
                assert "masks" not in target
                width, height = (target["boxes"][:, 2:] - target["boxes"][:, :2]).T
                assert loader is not data.val_dataloader or torch.equal(target["area"], width * height)


def test_a_single_class(coco_root, change):
    def one_class(document):
        document["categories"] = document["categories"][:1]
        document["annotations"] = [entry for entry in document["annotations"] if entry["category_id"] == 44]

    for part in ("train", "val"):
        change(one_class, part)
    data = folder(coco_root)
    assert data.class_names == ("disc",)
    data.setup("fit")
    assert {label for _, targets in data.train_dataloader() for t in targets for label in t["labels"].tolist()} == {1}


def test_other_places(coco_root):
    (coco_root / "train").rename(coco_root.parent / "pictures")
    (coco_root / "annotations" / "train.json").rename(coco_root / "all.json")
    data = folder(coco_root, train_images=coco_root.parent / "pictures", train_annotations="all.json")
    data.setup("fit")
    assert len(list(data.train_dataloader())) == 4


def test_validation_alone_can_be_evaluated_but_not_trained_on(coco_root):
    (coco_root / "annotations" / "train.json").unlink()
    data = folder(coco_root)
    data.setup("test")
    assert len(list(data.test_dataloader())) == 3
    with pytest.raises(FileNotFoundError, match=r"train.json: no such annotation file"):
        data.setup("fit")


def test_absent_folders_and_files(coco_root):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        folder(coco_root / "nowhere")
    for number in (1, 3):
        (coco_root / "val" / "deeper" / f"{number}.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"val lacks 2 of 5 annotated images, \['deeper/1.png', 'deeper/3.png'\] first"
    ):
        folder(coco_root).setup("validate")
    (coco_root / "val").rename(coco_root / "Val")
    with pytest.raises(FileNotFoundError, match="val: no such image folder"):
        folder(coco_root).setup("validate")


def test_no_images(coco_root, change):
    change(lambda document: document.update(images=[], annotations=[]))
    with pytest.raises(ValueError, match="list no image"):
        folder(coco_root).setup("validate")


def test_categories_of_both_parts_must_agree(coco_root, change):
    change(lambda document: document["categories"][0].update(name="circle"), "train")
    with pytest.raises(
        ValueError,
        match=r"val.json and .*train.json must .*only .*val.json has \['disc'\], only .*\['circle'\]",
    ):
        folder(coco_root).setup("fit")


def test_an_image_of_another_size_than_annotated(coco_root):
    Image.new("RGB", (33, 44)).save(coco_root / "val" / "deeper" / "2.png")
    data = folder(coco_root)
    data.setup("validate")
    with pytest.raises(ValueError, match=r"2.png has 33x44 pixels, its annotations \d+x\d+; correct either"):
        list(data.val_dataloader())


def test_damaged_run_lengths_are_named(coco_root, change):
    change(lambda document: document["annotations"][0]["segmentation"].update(counts="zzz"))
    data = folder(coco_root)
    data.setup("validate")
    with pytest.raises(ValueError, match=r"masks of .*1.png: object 0: segmentation .*'zzz'.*RLE"):
        list(data.val_dataloader())


def test_a_damaged_image_is_passed_over_in_training_only(coco_root):
    for part in ("train", "val"):
        path = coco_root / part / "deeper" / "1.png"
        path.write_bytes(path.read_bytes()[:50])
    data = folder(coco_root, max_damaged=3)
    data.setup("fit")
    with pytest.warns(UserWarning, match=r"train.deeper.1.png"):
        assert len(list(data.train_dataloader())) == 4
    with pytest.raises(ImageError, match=r"val.deeper.1.png"):
        list(data.val_dataloader())


def test_coco_as_it_is_downloaded(coco_root, change):
    def without_area(document):
        for entry in document["annotations"][:2]:  # all that are on the second image
            entry["bbox"] = [3, 3, 0, 5]

    change(without_area, "train")
    for part in ("train", "val"):
        (coco_root / part).rename(coco_root / f"{part}2017")
        (coco_root / "annotations" / f"{part}.json").rename(coco_root / "annotations" / f"instances_{part}2017.json")
    data = COCO(coco_root, num_workers=0)
    with pytest.warns(UserWarning, match="2 annotations cannot be used"):
        data.setup("fit")
    assert len(data.val_set) == 5
    assert len(data.train_set) == 7  # neither the empty image nor the one without usable objects
    images, _ = next(iter(data.train_dataloader()))
    assert max(max(image.shape) for image in images) >= 800


class Counts(lightning.LightningModule):
    """Adds up what a trainer hands it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.images = []
        self.validated = []

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, index):
        images, targets = batch
        assert len(images) == len(targets) == 2
        self.images += [target["image_id"] for target in targets]
        return self.weight * sum(image.mean() for image in images)

    def validation_step(self, batch, index):
        self.validated += [target["image_id"] for target in batch[1]]

    def on_fit_end(self):
        seen = {"train": self.images, "val": self.validated}
        Path(self.trainer.default_root_dir, f"{self.global_rank}.json").write_text(json.dumps(seen))


def fit(data, folder, **options):
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(Counts(), datamodule=data)
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def test_a_trainer_takes_it(coco_root, tmp_path):
    (seen,) = fit(folder(coco_root), tmp_path)
    first, second = seen["train"][:8], seen["train"][8:]
    assert len(set(first)) == len(set(second)) == 8
    assert first != second
    assert seen["val"] == 2 * [1000, 997, 994, 991, 988]


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on processes that are forked
def test_two_processes_share_the_work(coco_root, tmp_path):
    parts = fit(folder(coco_root), tmp_path, devices=2, strategy="ddp_fork", use_distributed_sampler=False)
    assert [len(part["train"]) for part in parts] == [8, 8]  # two epochs of two batches of two
    for epoch in (slice(0, 4), slice(4, 8)):
        assert len({image for part in parts for image in part["train"][epoch]}) == 8
    assert parts[0]["train"][:4] != parts[0]["train"][4:]
    assert sorted(image for part in parts for image in part["val"]) == sorted(2 * [1000, 997, 994, 991, 988])


def test_empty_images_may_be_left_out(coco_root):
    data = folder(coco_root, empty_images=False)
    data.setup("fit")
    assert len(data.train_set) == 8
    assert len(data.val_set) == 5


def test_report(coco_root, change, tmp_path):
    def move(document):
        document["annotations"][0]["bbox"][0] = -5

    change(move, "train")
    data = folder(coco_root)
    with pytest.warns(UserWarning, match=r"train: 1 of \d+ boxes reach over the border"):
        data.write_report(tmp_path / "report")
    with Image.open(tmp_path / "report" / "data.png") as sheet:
        assert np.asarray(sheet).std() > 20
    counts = count_objects(data.samples("train"), data.categories)
    assert (tmp_path / "report" / "boxes.csv").read_text() == counts.to_csv()
    assert len(list((tmp_path / "report").iterdir())) == 2


def test_a_class_that_never_occurs(coco_root, change, tmp_path):
    def without_discs(document):
        document["annotations"] = [entry for entry in document["annotations"] if entry["category_id"] != 44]

    change(without_discs, "val")
    with pytest.warns(UserWarning, match=r"val: in 5 of 5 images, these classes never occur: disc"):
        folder(coco_root).write_report(tmp_path)
