"""The hub as a server on this machine speaks it: what is pushed is what timm and gpvit fetch."""

import huggingface_hub
import pytest
import timm
import torch
from hub_server import Hub, serve_hub

import gpvit
from gpvit.errors import UserError
from gpvit.zoo.huggingface import fetch, push_folder


@pytest.fixture(scope="module")
def model():
    return gpvit.create_model("gpvit_nano", num_classes=2).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "mine"
    gpvit.save(model, folder, class_names=["a", "b"])
    (folder / "figures").mkdir()
    (folder / "figures/curve.svg").write_text("<svg/>")
    (folder / ".env").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serve_hub(tmp_path_factory.mktemp("cache")) as hub:
        yield hub


@pytest.fixture
def hub(served) -> Hub:
    served.models.clear()
    served.private.clear()
    served.requests.clear()
    return served


def test_what_is_pushed_is_what_timm_and_gpvit_fetch(hub, folder, model):
    address = push_folder(folder, "me/mine")
    sha, files = hub.models["me/mine"]["main"]
    assert address == f"{hub.address}/me/mine/commit/{sha}"
    assert sorted(files) == [
        ".gitattributes", "README.md", "config.json", "figures/curve.svg", "model.safetensors"
    ]  # fmt: skip
    card = files.pop("README.md").decode()
    assert 'Predictor("hf-hub:me/mine")' in card
    assert "USER/NAME" not in card
    assert "USER/NAME" in (folder / "README.md").read_text()
    assert all((folder / name).read_bytes() == content for name, content in files.items() if name[0] != ".")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(timm.create_model("hf-hub:me/mine", pretrained=True).eval()(x), model(x))
    hub.requests.clear()
    assert torch.equal(gpvit.load("hf-hub:me/mine")(x), model(x))
    assert hub.requests == ["HEAD /me/mine/resolve/main/config.json"]  # the files are in the cache
    assert gpvit.Predictor("hf-hub:me/mine").class_names == ("a", "b")
    assert torch.equal(gpvit.create_model("gpvit_nano", weights="hf-hub:me/mine", num_classes=2).eval()(x), model(x))


def test_branches_and_private_models(hub, folder):
    push_folder(folder, "me/secret@v1", private=True)
    assert hub.private == {"me/secret"}
    assert "model.safetensors" in hub.models["me/secret"]["v1"][1]
    assert "model.safetensors" not in hub.models["me/secret"]["main"][1]
    assert fetch("hf-hub:me/secret@v1").name == "model.safetensors"
    with pytest.raises(UserError, match=r"me/secret at http://127\S+ lacks config\.json or model\.safetensors"):
        fetch("hf-hub:me/secret")
    with pytest.raises(UserError, match=r"me/secret has no revision 'v2' .*leave out @v2"):
        fetch("hf-hub:me/secret@v2")
    push_folder(folder, "me/open")
    with pytest.raises(UserError, match="me/open is there already and public"):
        push_folder(folder, "me/open", private=True)


@pytest.mark.parametrize("name", ["mine", "hf-hub:mine", "/mine", "me/", "a/b/c", ""])
def test_an_id_names_its_user(name, hub, folder):
    for use in (fetch, lambda name: push_folder(folder, name)):
        with pytest.raises(UserError, match="is no model of the hub: name its user as well"):
            use(name)
    assert hub.requests == []


def test_an_id_that_cannot_be_and_a_model_that_is_not_there(hub):
    with pytest.raises(UserError, match=r"'hf-hub:me/a\.\.b' is no id of the hub: "):
        gpvit.load("hf-hub:me/a..b")
    with pytest.raises(UserError, match=r"http://127\S+ has no model me/none, or shows it only to others.*HF_TOKEN"):
        gpvit.load("hf-hub:me/none")


def test_a_token_is_needed(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(UserError, match="only with a token: run `hf auth login`"):
        push_folder(folder, "me/mine")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"refuses the token for me/mine.*Invalid credentials"):
        push_folder(folder, "me/mine")
    assert hub.models == {}


def test_without_network_the_cache_is_enough(hub, folder, model, monkeypatch):
    push_folder(folder, "me/cached")
    gpvit.load("hf-hub:me/cached")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # it tries again five times
    constants = huggingface_hub.constants
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(hub.address, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(gpvit.load("hf-hub:me/cached")(x), model(x))
    with pytest.raises(ConnectionError, match=r"could not fetch hf-hub:me/other from http://127\.0\.0\.1:9.*network"):
        gpvit.load("hf-hub:me/other")
    with pytest.raises(ConnectionError, match=r"could not reach http://127\.0\.0\.1:9 for me/cached"):
        push_folder(folder, "me/cached")
