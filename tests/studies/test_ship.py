import json
from pathlib import Path

import pytest
from PIL import Image
from test_readme import blocks, run

import gpvit
from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.io import sha256
from gpvit.zoo.catalog import MODELS, SHIPPED
from studies import ship

TEXT = ship.PAGE.read_text(encoding="utf-8")
ALL = all((SHIPPED / f"{name}_gpvit_nano.digit_scenes.json").is_file() for name in ("segformer", "mask_rcnn"))


def test_the_page_has_the_weights_with_their_scores():
    assert ship.with_table(TEXT) == TEXT


@pytest.mark.slow
@pytest.mark.skipif(not ALL, reason="the page uses weights that are not here yet")
def test_the_page_runs_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(digits_split("test")[0][0]).save("digit.png")
    Image.fromarray(digit_scene("test", 0).image).save("scene.png")
    for commands in blocks("bash", TEXT):
        run(commands, at_least=7)
    for code in blocks("python", TEXT):
        exec(compile(code, "weights.md", "exec"), {})
    assert Path("labelled/scene_labels.png").is_file()


@pytest.mark.slow  # 500 digits are scored twice
def test_a_run_becomes_a_file_with_a_certificate_and_a_line_of_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(ship, "SHIPPED", tmp_path)
    monkeypatch.setattr(ship, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text(TEXT, encoding="utf-8")
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    gpvit.save(gpvit.create_model("gpvit_nano.digits"), run_folder / "last.safetensors")
    (run_folder / "config.yaml").write_text("data: {class: Digits, image_size: 64, num_workers: 0}\n")
    weights, certificate, page = ship.ship(run_folder, "gpvit_nano.mine")
    facts = json.loads(certificate.read_text())
    assert facts["command"].startswith("gpvit evaluate gpvit_nano.mine --expect=0.99")
    assert facts["weights"]["sha256"] == sha256(weights)
    score = MODELS["gpvit_nano"].weights["digits"].metrics["top1"]
    assert f"| `gpvit_nano.mine` | {score} % top-1 | 500 | 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 | 2.2 |" in page.read_text()
