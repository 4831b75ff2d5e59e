"""All published models, with weights by the golden rule, pass the gate; those of L1 also meet the authors' numbers."""

import numpy as np
import pytest
from golden import official

from gpvit.export import export
from gpvit.runtime.sessions import open_session
from gpvit.zoo.factory import create_model
from gpvit.zoo.files import load_weights
from gpvit.zoo.official import convert_official

SYSTEMS = {
    "": "cls",
    "upernet_": "upernet",
    "segformer_": "segformer",
    "mask_rcnn_": "maskrcnn",
    "retinanet_": "retinanet",
}
RECORDED = {  # image, file and name of the output, of which every so many channels were kept
    "": [("sq", "cls_L1_sq", "logits", 1), ("rect", "cls_L1_rect", "logits", 1)],
    "upernet_": [("seg", "upernet_L1_small", "decode_logits_c3", 3)],
    "segformer_": [("seg", "segformer_L1_small", "decode_logits_c3", 3)],
}
TOLERANCE = 2e-5  # of the largest value

pytestmark = pytest.mark.slow


def published(system: str, level: int):
    model = create_model(f"{system}gpvit_l{level}")
    load_weights(model, convert_official(official.state_dict(f"{SYSTEMS[system]}_L{level}")), source="golden fill")
    return model.eval()


@pytest.mark.parametrize("level", [2, 3, 4])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_published_model_passes_the_gate(system, level, tmp_path):
    metadata = export(published(system, level), tmp_path / "model.onnx")
    assert {row["batch"] for row in metadata.parity} == {1, 3}
    assert metadata.task != "detection" or sum(row.get("objects", 0) for row in metadata.parity) > 100


@pytest.mark.parametrize("ending", ["onnx", "xml", "pt2"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_smallest_pass_in_every_format_and_meet_the_authors_numbers(system, ending, tmp_path):
    path = tmp_path / f"model.{ending}"
    export(published(system, 1), path)
    for image, file, output, step in RECORDED.get(system, []) if ending != "pt2" else []:
        found = open_session(path).run(official.image(image).numpy())["logits"][:, ::step]
        expected = official.outputs(file)[output]
        assert np.abs(found - expected).max() / np.abs(expected).max() < TOLERANCE
