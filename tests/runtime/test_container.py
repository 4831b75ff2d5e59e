import zipfile
from io import BytesIO

import onnx
import pytest
from onnx import TensorProto, helper
from runtime.metadata import DETECTOR, metadata

from gpvit.errors import UserError
from gpvit.runtime.container import read_onnx, read_openvino, read_pt2, seal_onnx, seal_openvino, seal_pt2


def graph(*initializers, nodes=(("Relu", {}),)):
    made = [helper.make_node(kind, ["images"], ["logits"], **options) for kind, options in nodes]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("images", "logits")]
    return helper.make_graph(made, "tiny", ends[:1], ends[1:], list(initializers))


def core(*initializers, **options) -> bytes:
    return helper.make_model(graph(*initializers, **options)).SerializeToString()


def archive() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/weights", b"12345678")
    return buffer.getvalue()


def test_a_sealed_model_is_read_as_it_was(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(seal_onnx(core(), metadata()))
    assert read_onnx(path) == (metadata(), core())


def test_a_sealed_model_is_a_model_of_onnx(tmp_path):
    model = onnx.load_model_from_string(seal_onnx(core(), metadata()))
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["gpvit", "gpvit_sha256"]


def test_openvino_and_pt2_are_read_as_they_were(tmp_path):
    spoken = metadata(label_names=["-- >", "--><!--é"])
    xml, weights = b"<net/>\n", bytes(range(99))
    (tmp_path / "model.xml").write_bytes(seal_openvino(xml, weights, spoken))
    (tmp_path / "model.bin").write_bytes(weights)
    assert read_openvino(tmp_path / "model.xml") == (spoken, xml, weights)
    content = seal_pt2(archive(), metadata(DETECTOR))
    (tmp_path / "model.pt2").write_bytes(content)
    assert read_pt2(tmp_path / "model.pt2") == (metadata(DETECTOR), content)
    with zipfile.ZipFile(tmp_path / "model.pt2") as file:
        assert file.testzip() is None


READERS = {"model.onnx": read_onnx, "model.xml": read_openvino, "model.pt2": read_pt2}


@pytest.fixture
def sealed(tmp_path):
    xml, weights = b"<net/>\n", bytes(range(99))
    contents = {"model.onnx": seal_onnx(core(), metadata()), "model.xml": seal_openvino(xml, weights, metadata())}
    contents |= {"model.pt2": seal_pt2(archive(), metadata()), "model.bin": weights}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("name", READERS)
def test_no_byte_may_change_and_none_be_missing(sealed, name):
    path, content = sealed / name, (sealed / name).read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match=path.name):
            READERS[name](path)
        path.write_bytes(content[:place])
        with pytest.raises(UserError, match=path.name):
            READERS[name](path)


def test_the_weights_of_another_graph_are_refused(sealed):
    (sealed / "model.bin").write_bytes(bytes(99))
    with pytest.raises(UserError, match=r"model\.xml is damaged, or was changed after its export"):
        read_openvino(sealed / "model.xml")
    (sealed / "model.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.bin"):
        read_openvino(sealed / "model.xml")


@pytest.mark.parametrize(
    ("name", "content"), [("model.onnx", core()), ("model.xml", b"<net/>"), ("model.pt2", archive())]
)
def test_a_file_of_others_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=f"{name} is no export of gpvit.*write it with `gpvit export`"):
        READERS[name](tmp_path / name)


def external(path="/etc/passwd"):
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=path)
    return tensor


@pytest.mark.parametrize(
    "content",
    [
        core(external()),
        core(nodes=[("Constant", {"value": external()})]),
        core(nodes=[("If", {"then_branch": graph(external()), "else_branch": graph()})]),
    ],
    ids=["initializer", "constant", "branch"],
)
def test_no_other_file_is_opened(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(seal_onnx(content, metadata()))
    with pytest.raises(UserError, match=r"model\.onnx names another file"):
        read_onnx(path)
