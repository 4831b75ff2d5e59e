import json

import numpy as np
import pytest
import torch
from PIL import Image

import gpvit
from gpvit import Predictor
from gpvit.data import load_photograph

NAMES = ["sky", "water", "stone"]
COLORS = [[0, 0, 255], [0, 255, 255], [128, 128, 128]]
OPTIONS = {"num_classes": 3, "backbone_kwargs": {"img_size": 64}, "min_size": 64, "max_size": 128}


@pytest.fixture(scope="module", params=["mask_rcnn", "retinanet"])
def model(request):
    torch.manual_seed(0)
    model = gpvit.create_model(f"{request.param}_gpvit_nano", **OPTIONS)
    model.pretrained_cfg |= {"label_names": NAMES, "label_colors": COLORS, "category_ids": [4, 9, 2]}
    for detecting in (model, getattr(model, "roi_heads", model)):
        detecting.score_thresh, detecting.detections_per_img = 0.0, 7  # all scores of random weights are low
    return model.eval()


@pytest.fixture(scope="module")
def photographs():
    names = ("china", "astronaut", "coffee")
    return [
        load_photograph(name).resize(size) for name, size in zip(names, [(150, 100), (70, 90), (64, 64)], strict=True)
    ]


@torch.no_grad()
def as_torchvision_users_ask(model, image):
    return model([torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255])[0]


def test_objects_are_those_of_the_model(model, photographs):
    predictor = Predictor(model)
    assert predictor.batch_size == 1
    assert predictor.class_names == tuple(NAMES)
    for image, result in zip(photographs, predictor(photographs), strict=True):
        expected = as_torchvision_users_ask(model, image)
        assert len(result.boxes) == 7
        assert torch.equal(result.labels, expected["labels"])
        torch.testing.assert_close(result.scores, expected["scores"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(result.boxes, expected["boxes"], rtol=1e-5, atol=1e-3)
        if model.has_masks:
            assert expected["masks"].is_floating_point(), "the model keeps giving its usual masks"
            assert (result.masks == (expected["masks"][:, 0] >= 0.5)).float().mean() > 0.999
        else:
            assert result.masks is None
        assert result.source is image
        assert result.size == image.size[::-1]
        assert result.categories.ids == (4, 9, 2)
        assert result.colors == tuple(map(tuple, COLORS))


def test_batches_give_the_same(model, photographs):
    alike = [image.resize((96, 64)) for image in photographs]
    for images in (alike, photographs):
        for one, several in zip(Predictor(model)(images), Predictor(model, batch_size=2)(images), strict=True):
            torch.testing.assert_close(several.scores, one.scores, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(several.boxes, one.boxes, rtol=1e-3, atol=1e-2)


def test_pictures_of_any_size(model):
    sizes = [(5000, 1), (1, 700), (1, 1), (33, 500)]
    for batch_size in (1, 2):
        for size, result in zip(
            sizes,
            Predictor(model, batch_size=batch_size)([Image.new("L", size, 90) for size in sizes]),
            strict=True,
        ):
            assert result.size == size[::-1]
            assert (result.boxes[:, 2:] <= torch.tensor(size) * (1 + 1e-5)).all()
            assert len(json.dumps(result.to_coco(1))) > 100
            assert result.draw(1).size == size


def test_a_checkpoint_is_all_it_needs(model, photographs, tmp_path):
    path = tmp_path / "own.safetensors"
    gpvit.save(model, path)
    loaded = Predictor(path, device="cpu")
    for detecting in (loaded.model, getattr(loaded.model, "roi_heads", loaded.model)):
        detecting.score_thresh, detecting.detections_per_img = 0.0, 7
    result, expected = loaded(photographs[0]), Predictor(model)(photographs[0])
    assert result.objects == expected.objects
    assert result.colors == expected.colors


def test_gray_and_bfloat16_models_work(photographs):
    torch.manual_seed(0)
    for system in ("mask_rcnn", "retinanet"):
        model = gpvit.create_model(f"{system}_gpvit_nano", in_chans=1, **OPTIONS)
        for detecting in (model, getattr(model, "roi_heads", model)):
            detecting.score_thresh = 0.0
        gray = Predictor(model)
        assert gray(photographs[0]).objects == gray(photographs[0].convert("L")).objects
        result = Predictor(model.bfloat16())(photographs[0])
        assert len(result.boxes)
        assert {result.boxes.dtype, result.scores.dtype} == {torch.float32}
        assert result.draw().width >= 640 // 2


def test_what_is_no_image_fails(model, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    first, failure, last = Predictor(model).stream([np.zeros((40, 50), np.uint8), text, Image.new("RGB", (64, 33))])
    assert (first.size, failure.source, last.size) == ((40, 50), text, (33, 64))


def test_settings_that_are_not_for_detectors_are_refused(model):
    with pytest.raises(ValueError, match="batch_size is 0"):
        Predictor(model, batch_size=0)
    with pytest.raises(ValueError, match="4 channels"):
        Predictor(gpvit.create_model("retinanet_gpvit_nano", in_chans=4, **OPTIONS))


def test_weights_that_are_not_finite_are_told_and_not_taken_for_an_empty_picture():
    broken = gpvit.create_model("mask_rcnn_gpvit_nano", **OPTIONS)
    torch.nn.init.constant_(broken.backbone.body.backbone.pos_embed, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        Predictor(broken)(Image.new("RGB", (40, 40)))
    assert broken.mask_format == "probability"
