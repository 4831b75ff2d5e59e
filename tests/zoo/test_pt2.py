"""Programs of torch: read where they are ours, and refused before anything in them is run."""

import io
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from runtime.metadata import CLASSIFIER, SEGMENTER, metadata
from runtime.tiny import Segmenter, write

import gpvit
from gpvit.errors import UserError
from gpvit.export import export
from gpvit.runtime.container import seal_pt2
from gpvit.zoo.pt2 import open_program

PROGRAM, INPUTS, CONFIG = (
    "archive/models/model.json",
    "archive/data/sample_inputs/model.pt",
    "archive/data/weights/model_weights_config.json",
)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    path = write(CLASSIFIER, tmp_path_factory.mktemp("pt2") / "model.pt2")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("gpvit.json")}


@pytest.fixture
def rewritten(tmp_path, members):
    def rewrite(**changed):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in {**members, **changed}.items():
                archive.writestr(name, data)
        path = tmp_path / "model.pt2"
        path.write_bytes(seal_pt2(buffer.getvalue(), metadata()))
        return path

    return rewrite


def test_a_program_answers_at_other_sizes(tmp_path):
    session = open_program(write(SEGMENTER, tmp_path / "model.pt2"))
    images = np.random.default_rng(0).random((3, 3, 96, 64), np.float32)
    expected = Segmenter()(torch.from_numpy(images)).detach().numpy()
    assert np.abs(session.run(images)["logits"] - expected).max() < 1e-6


class Touch:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_unpickled_but_tensors(tmp_path, rewritten, members):
    touched = tmp_path / "touched"
    buffer = io.BytesIO()
    torch.save(Touch(touched), buffer)
    with pytest.raises(UserError, match=r"model\.pt2 cannot be loaded"):
        open_program(rewritten(**{INPUTS: buffer.getvalue()}))
    config = json.loads(members[CONFIG])
    for entry in config["config"].values():
        entry["use_pickle"] = True
    weights = {CONFIG: json.dumps(config), "archive/data/weights/weight_0": buffer.getvalue()}
    with pytest.raises(UserError, match="holds pickled weights"):
        open_program(rewritten(**weights))
    with pytest.raises(UserError, match="holds 'archive/data/constants/opaque_obj_0', which no export of gpvit does"):
        open_program(rewritten(**{"archive/data/constants/opaque_obj_0": pickle.dumps(Touch(touched))}))
    assert not touched.exists()


@pytest.mark.parametrize(
    ("found", "put", "message"),
    [
        ("torch.ops.aten.mean.dim", "torch.hub.load", "calls 'torch.hub.load', which is no operator on tensors"),
        ("torch.ops.aten.mean.dim", "torch.ops.aten.from_file.default", "which is no operator on tensors"),
        ("Symbol('s", "__import__('os').system('s", "holds the expression .*, which is no size"),
        ("builtins.tuple", "collections.defaultdict", "takes or gives a 'collections.defaultdict'"),
    ],
)
def test_nothing_is_called_but_operators(rewritten, members, found, put, message):
    program = members[PROGRAM].decode()
    assert found in program
    with pytest.raises(UserError, match=message):
        open_program(rewritten(**{PROGRAM: program.replace(found, put)}))


def test_guards_are_not_run(tmp_path, rewritten, members):
    program = json.loads(members[PROGRAM])
    program["guards_code"] = [f"open({str(tmp_path / 'touched')!r}, 'w')"]
    session = open_program(rewritten(**{PROGRAM: json.dumps(program)}))
    session.run(np.zeros((2, 3, 32, 32), np.float32))
    assert not (tmp_path / "touched").exists()


def test_machine_code_is_refused_with_what_to_do(rewritten):
    with pytest.raises(UserError, match=r"holds machine code of AOTInductor.*aoti_load_package"):
        open_program(rewritten(**{"archive/data/aotinductor/model/a.so": b"\x7fELF"}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_twice_is_refused(tmp_path, members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in [*members.items(), (PROGRAM, "{}")]:
            archive.writestr(name, data)
    (tmp_path / "model.pt2").write_bytes(seal_pt2(buffer.getvalue(), metadata()))
    with pytest.raises(UserError, match="holds a member twice"):
        open_program(tmp_path / "model.pt2")


@pytest.mark.slow  # a detector is exported: half a minute
@pytest.mark.parametrize("name", ["retinanet_gpvit_nano", "mask_rcnn_gpvit_nano"])
def test_a_process_that_knows_no_detector_opens_one(tmp_path, name):
    torch.manual_seed(0)
    model = gpvit.create_model(name, num_classes=3, min_size=64, max_size=96).eval()
    getattr(model, "roi_heads", model).score_thresh = 1e-3  # random weights are sure of nothing
    rows = export(model, tmp_path / "model.pt2").parity
    assert sum(row.get("objects", 0) for row in rows) > 100
    code = (
        "import sys; from pathlib import Path; from gpvit.zoo.pt2 import open_program; open_program(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.pt2")], check=True)
