import pytest
from golden import official

from gpvit.zoo.hub import identify
from gpvit.zoo.official import convert_official


@pytest.mark.parametrize(
    ("system", "prefix"),
    [
        ("cls", ""),
        ("upernet", "upernet_"),
        ("segformer", "segformer_"),
        ("maskrcnn", "mask_rcnn_"),
        ("retinanet", "retinanet_"),
    ],
)
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_every_official_model_is_found_by_its_shapes(system, prefix, level):
    weights = convert_official(official.meta_state_dict(f"{system}_L{level}"))
    assert identify(weights, "file") == f"{prefix}gpvit_l{level}"


def test_an_unknown_width_is_told_with_those_there_are():
    weights = convert_official(official.meta_state_dict("cls_L2"))
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("stem.extra")}
    with pytest.raises(ValueError, match=r"348 channels and 2 convolutions(.|\n)*gpvit_l2: 348 channels and 3"):
        identify(weights, "file")
