import pytest

from gpvit.cli import main


def test_help_fits_a_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert len(capsys.readouterr().out.splitlines()) < 45


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpvit_nano", "model.bin"], "the endings are .onnx for onnx"),
        (["gpvit_nano", "model.onnx", "--fixed", "64*64"], "write height x width"),
        (["gpvit_nano", "model.onnx", "--precision", "bf16"], "bf16 as openvino"),
        (["gpvit_nano", "model.onnx", "--precision", "int8"], "--calibration FOLDER"),
        (["gpvit_nanoo", "model.onnx"], "unknown model"),
        (["absent.safetensors", "model.onnx"], "absent.safetensors"),
    ],
)
def test_what_cannot_be_is_a_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_is_exported_and_the_comparison_printed(capsys, tmp_path):
    path = tmp_path / "nano.onnx"
    assert main(["export", "gpvit_nano", str(path), "--fixed", "64x96", "--uint8"]) == 0
    out, err = capsys.readouterr()
    assert "no weights" in err
    assert all(word in out for word in ("probabilities", "64x96", "100.00%", "nano.onnx: gpvit_nano in fp32"))
    assert [each.name for each in tmp_path.iterdir()] == ["nano.onnx"]
