"""Models by whatever names them: what is accepted, what is refused, and what a file may not bring about."""

import json
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import timm
import torch
from golden import official
from safetensors.torch import load_file, save_file

import gpvit
from gpvit.errors import UserError
from gpvit.zoo.factory import is_untrained, open_model


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "own.safetensors"
    model = gpvit.create_model("gpvit_nano", num_classes=3, img_size=64)
    gpvit.save(model, path, class_names=["ant", "bee", "cat"], inputs={"input_size": (3, 64, 64)})
    return path


def test_a_checkpoint_brings_everything(checkpoint):
    for path in (checkpoint, str(checkpoint)):
        model = open_model(path)
        assert not model.training
        assert model.pretrained_cfg["label_names"] == ["ant", "bee", "cat"]
        assert not is_untrained(path)


def test_a_name_starts_untrained_unless_weights_are_named(checkpoint):
    assert is_untrained("gpvit_nano")
    assert not is_untrained("gpvit_l1.in1k")
    assert not is_untrained("gpvit_nano", checkpoint)
    assert open_model("gpvit_nano").num_classes == 1000
    assert torch.equal(open_model("gpvit_nano", checkpoint).head.weight, open_model(checkpoint).head.weight)


def test_a_folder_named_like_a_model_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "gpvit_nano").mkdir()
    monkeypatch.chdir(tmp_path)
    assert is_untrained("gpvit_nano")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("gpvit_nanoo",), ValueError, "gpvit_nano"),
        (("absent.safetensors",), FileNotFoundError, "absent.safetensors"),
        (("own.safetensors", "in1k"), ValueError, "own weights"),
        (("gpvit_l1.in1k", "in1k"), ValueError, "choose one"),
    ],
)
def test_what_cannot_be_opened_is_told(arguments, error, message):
    with pytest.raises(error, match=message):
        open_model(*arguments)


@pytest.mark.parametrize("names", [("best", "last"), ("last",)])
def test_a_run_folder_stands_for_its_best_weights(tmp_path, checkpoint, names, monkeypatch):
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    for i, name in enumerate(names):
        gpvit.save(gpvit.create_model("gpvit_nano", num_classes=5 + i, img_size=64), run / f"{name}.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    for source in (run, str(run), "runs/first", "~/runs/first", "$RUNS/first"):
        assert open_model(source).num_classes == 5
        assert not is_untrained(source)
    assert gpvit.load("~/own.safetensors").num_classes == gpvit.load("$HOME/own.safetensors").num_classes == 3


def test_a_folder_without_weights_says_what_is_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds none of best\.safetensors, last\.safetensors"):
        open_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds none of"):
        gpvit.create_model("gpvit_nano", tmp_path)


@pytest.mark.parametrize("name", ["gpvit_nano", "upernet_resnet18"])
def test_an_unknown_argument_is_refused_with_the_nearest(name):
    with pytest.raises(UserError, match=f"{name} has no option 'num_clases'; did you mean num_classes"):
        gpvit.create_model(name, num_clases=3)


# Files describe themselves, and are data


def described(path, name="gpvit_nano", **description):
    """Write a file that describes itself so; its weights are of no model."""
    save_file({"x": torch.zeros(1)}, path, metadata={"gpvit": json.dumps({"name": name, **description})})
    return path


@pytest.fixture(scope="module")
def requests():
    """Addresses asked for of a server on this machine, after the server's own."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    asked.append(f"http://127.0.0.1:{server.server_port}/weights.pth")
    yield asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "where",
    [
        ("gpvit_nano", "kwargs"),
        ("segformer_gpvit_nano", "kwargs"),
        ("segformer_gpvit_nano", "backbone_kwargs"),
        ("segformer_resnet18", "backbone_kwargs"),
        ("retinanet_gpvit_nano", "backbone_kwargs"),
        ("retinanet_vit_tiny_patch16_224", "backbone_kwargs"),
    ],
)
@pytest.mark.parametrize(
    "key", ["pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "weights", "url"]
)
def test_a_file_names_nothing_that_is_fetched_or_opened(tmp_path, requests, where, key):
    name, part = where
    folder = {"checkpoint_path": str(tmp_path / "weights.pth"), "cache_dir": str(tmp_path), "url": requests[0]}
    stored = {key: folder.get(key, True if key == "pretrained" else {"url": requests[0]})}
    path = described(tmp_path / "evil.safetensors", name, kwargs=stored if part == "kwargs" else {part: stored})
    with pytest.raises(UserError, match=rf"evil\.safetensors sets '{key}' in its {part}"):
        gpvit.load(path)
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ([], "metadata must be a mapping; got \\[\\]"),
        (3, "metadata must be a mapping; got 3"),
        ({"kwargs": {}}, "does not say which model it holds"),
        ({"name": "gpvit_nano", "kwargs": [1]}, r"sets kwargs in its metadata to \[1\]"),
        ({"name": 5, "kwargs": {}}, "sets name in its metadata to 5"),
        ({"name": "gpvit_nnano"}, "unknown model 'gpvit_nnano'"),
        ({"name": "gpvit_nano", "kwargs": {"embed_dim": "abc"}}, "sets embed_dim in its kwargs to 'abc'"),
        (
            {"name": "gpvit_nano", "kwargs": {"embed_dim": 10**9}},
            "sets numbers beyond 1,048,576.*in its kwargs.*embed_dim",
        ),
        ({"name": "gpvit_nano", "kwargs": {"embed_dim": -1}}, "can be built with .*embed_dim"),
        ({"name": "gpvit_nano", "kwargs": {"blocks": [{"kind": "local", "foo": 1}]}}, "can be built with .*foo"),
        ({"name": "gpvit_nano", "kwargs": {"blocks": 7}}, "sets blocks in its kwargs to 7"),
        ({"name": "gpvit_nano", "kwargs": {"embed_dim": 144}}, r"size mismatch|missing"),
        ({"name": "gpvit_nano", "kwargs": {"features_only": True}}, "sets 'features_only' in its kwargs"),
        ({"name": "gpvit_nano", "inputs": {"mean": "gray"}}, "sets mean in its inputs to 'gray'"),
        ({"name": "gpvit_nano", "inputs": {"url": "x"}}, "sets 'url' in its inputs"),
        (
            {"name": "upernet_gpvit_nano", "kwargs": {"backbone_kwargs": 3}},
            "sets backbone_kwargs in its kwargs to 3|mapping",
        ),
        ({"name": "upernet_gpvit_nano", "kwargs": {"decoder_kwargs": {"channels": "many"}}}, "can be built"),
    ],
)
def test_a_wrong_description_is_refused_with_file_and_key(tmp_path, description, message):
    path = tmp_path / "wrong.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"gpvit": json.dumps(description)})
    with pytest.raises(UserError, match=rf"wrong\.safetensors(.|\n)*({message})"):
        gpvit.load(path)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("segformer_resnet18", {"backbone_kwargs": {"out_indices": [2, 3, 4]}}),
        ("retinanet_vit_tiny_patch16_224", {"channels": 16, "min_size": 64, "backbone_kwargs": {"img_size": 64}}),
    ],
)
def test_constants_that_no_file_holds_come_back_too(tmp_path, name, kwargs):
    model = gpvit.create_model(name, num_classes=3, **kwargs).eval()
    gpvit.save(model, tmp_path / "model.safetensors")
    loaded = gpvit.load(tmp_path / "model.safetensors")
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    x = torch.rand(1, 3, 64, 64)
    if name.startswith("retinanet"):
        assert torch.equal(loaded.backbone(x)["0"], model.backbone(x)["0"])
    else:
        assert torch.equal(loaded(x), model(x))


def test_what_a_backbone_was_pretrained_with_is_not_stored(tmp_path):
    weights = timm.create_model("resnet18").state_dict()
    source = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": weights}, "out_indices": (3, 4)}
    model = gpvit.create_model("segformer_resnet18", num_classes=3, backbone_kwargs=source).eval()
    assert torch.equal(model.backbone.conv1.weight, weights["conv1.weight"])
    gpvit.save(model, tmp_path / "model.safetensors")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(gpvit.load(tmp_path / "model.safetensors")(x), model(x))


def test_weights_of_half_precision_are_computed_with_in_full(tmp_path, checkpoint):
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(checkpoint).items()
    }
    description = {"name": "gpvit_nano", "kwargs": {"num_classes": 3, "img_size": 64}}
    save_file(half, tmp_path / "half.safetensors", metadata={"gpvit": json.dumps(description)})
    model = gpvit.load(tmp_path / "half.safetensors")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in model.parameters())


# Weights of a backbone alone


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "classifier.safetensors"
    torch.manual_seed(0)
    gpvit.save(gpvit.create_model("gpvit_nano", num_classes=7), path)
    return path


def test_a_classifiers_backbone_is_loaded_and_reported(classifier, capsys):
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=3, backbone_weights=classifier)
    expected = gpvit.load(classifier).state_dict()
    own = model.backbone.model.state_dict()
    assert {n for n in own if n not in expected} == {
        f"feature_norms.{i}.{p}" for i in (2, 5, 8) for p in ("weight", "bias")
    }
    assert all(torch.equal(own[n], expected[n]) for n in own if n in expected)
    report = capsys.readouterr().err
    assert "new: feature_norms.2, feature_norms.5, feature_norms.8; left out: head, pool, pool.key, pool.norm" in report


def test_image_channels_and_grid_are_converted(classifier):
    model = gpvit.create_model(
        "upernet_gpvit_nano", in_chans=1, backbone_kwargs={"img_size": 64}, backbone_weights=classifier
    )
    assert model.backbone.model.pos_embed.shape[1:3] == (8, 8)
    expected = gpvit.load(classifier).stem.first.conv.weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.backbone.model.stem.first.conv.weight, expected)


def test_a_segmenters_file_gives_its_backbone(tmp_path, capsys):
    given = gpvit.create_model("upernet_gpvit_nano")
    gpvit.save(given, tmp_path / "model.safetensors")
    model = gpvit.create_model("segformer_gpvit_nano", backbone_weights=tmp_path / "model.safetensors")
    for own, theirs in zip(model.backbone.parameters(), given.backbone.parameters(), strict=True):
        assert torch.equal(own, theirs)
    assert "new" not in capsys.readouterr().err


def test_official_classification_weights_fit(tmp_path):
    path = official.checkpoint("cls_L1", tmp_path / "gpvit_l1_in1k_300e.pth")
    model = gpvit.create_model("segformer_gpvit_l1", backbone_weights=path)
    expected = official.state_dict("cls_L1")["backbone.ln1.weight"]
    assert torch.equal(model.backbone.model.norm.weight, expected)


def test_what_does_not_fit_is_an_error(classifier, tmp_path):
    with pytest.raises(ValueError, match="size mismatch"):
        gpvit.create_model("segformer_gpvit_tiny", backbone_weights=classifier)
    with pytest.raises(ValueError, match="gpvit_nano is a backbone itself"):
        gpvit.create_model("gpvit_nano", backbone_weights=classifier)
    with pytest.raises(ValueError, match="leave out one of the two"):
        gpvit.create_model("upernet_gpvit_nano", classifier, backbone_weights=classifier)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        gpvit.create_model("upernet_gpvit_nano", backbone_weights=tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="is no tag of timm's weights of"):
        gpvit.create_model("upernet_resnet18", backbone_weights=classifier)


@pytest.mark.parametrize("system", ["mask_rcnn", "retinanet"])
def test_a_detectors_adapter_stays_new(classifier, system, capsys):
    model = gpvit.create_model(f"{system}_gpvit_nano", num_classes=3, backbone_weights=classifier)
    expected = gpvit.load(classifier).state_dict()
    own = model.backbone.body.backbone.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in own.items())
    assert "left out: head, norm, pool, pool.key, pool.norm" in capsys.readouterr().err


def test_a_detectors_file_rebuilds_it(tmp_path):
    model = gpvit.create_model("mask_rcnn_gpvit_nano", num_classes=3, min_size=64, channels=16).eval()
    model.pretrained_cfg |= {"category_ids": [7, 3, 9]}
    gpvit.save(model, tmp_path / "model.safetensors", class_names=list("abc"))
    loaded = gpvit.load(tmp_path / "model.safetensors")
    assert loaded.pretrained_cfg["category_ids"] == [7, 3, 9]
    image = torch.rand(3, 64, 80)
    with torch.inference_mode():
        for own, theirs in zip(model([image])[0].values(), loaded([image])[0].values(), strict=True):
            assert torch.equal(own, theirs)


def test_a_folder_named_like_a_tag_or_a_model_hides_neither(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in1k", "gpvit_l1.in1k"):
        Path(name).mkdir()
    asked = []

    def fetch(name, tag):
        asked.append((name, tag))
        raise ConnectionError

    monkeypatch.setattr("gpvit.zoo.factory.published_weights", fetch)
    for call in (partial(gpvit.create_model, "gpvit_l1.in1k"), partial(gpvit.create_model, "gpvit_l1", "in1k")):
        with pytest.raises(ConnectionError):
            call()
    with pytest.raises(ConnectionError):
        open_model("gpvit_l1.in1k")
    assert asked == 3 * [("gpvit_l1", "in1k")]


def test_a_name_that_ends_with_a_dot_is_refused():
    with pytest.raises(UserError, match="ends with a dot"):
        gpvit.create_model("gpvit_nano.")


@pytest.mark.parametrize("kind", ["runs/mine", "mine", "~/runs/mine", "$RUNS/mine", "in1k"])
@pytest.mark.parametrize("best", ["best", "last"])
def test_a_run_folder_stands_for_its_best_weights_wherever_a_model_is_named(kind, best, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ("runs/mine" if "/" in kind else kind)
    model = gpvit.create_model("gpvit_nano", num_classes=3, img_size=32)
    gpvit.save(model, folder / f"{best}.safetensors")
    if best == "best":
        gpvit.save(gpvit.create_model("gpvit_nano", num_classes=3, img_size=32), folder / "last.safetensors")
    backbone = gpvit.create_model("segformer_gpvit_nano", backbone_weights=kind, num_classes=2).backbone.model
    opened = [gpvit.load(kind), open_model(kind), gpvit.create_model("gpvit_nano", kind, num_classes=3), backbone]
    assert all(torch.equal(each.stem.first.conv.weight, model.stem.first.conv.weight) for each in opened)
    assert not is_untrained(kind)
