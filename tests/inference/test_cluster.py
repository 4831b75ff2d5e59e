"""`gpvit predict --ray` on a real cluster of two nodes on this machine."""

import json
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import gpvit
from gpvit.cli import main

ray = pytest.importorskip("ray", reason="gpvit[cluster] is not installed")
pytestmark = pytest.mark.slow  # processes load everything


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    cluster.nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_each_image_is_answered_once_though_a_node_is_killed(cluster, tmp_path, capsys):
    torch.manual_seed(0)
    model, out, images = tmp_path / "model.safetensors", tmp_path / "out", tmp_path / "images"
    gpvit.save(gpvit.create_model("segformer_gpvit_nano", num_classes=3, backbone_kwargs={"img_size": 64}), model)
    images.mkdir()
    rng = np.random.default_rng(0)
    for index in range(60):
        Image.fromarray(rng.integers(0, 256, (200, 200, 3), np.uint8)).save(images / f"{index}.png")
    (images / "30.png").write_text("no image")
    arguments = ["predict", str(model), images.as_uri(), "--out", str(out), "--no-overlays", "--device", "cpu"]
    lines = out / "predictions-ray.jsonl"

    def kill_a_node():
        while not lines.is_file() or len(lines.read_bytes().splitlines()) < 10:
            time.sleep(0.05)
        cluster.remove_node(cluster.nodes.pop(), allow_graceful=False)

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    assert main([*arguments, "--ray", cluster.address]) == 1
    killer.join()
    assert "59 images" in capsys.readouterr().out
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    assert sorted(line["index"] for line in written) == list(range(60))
    assert ["error" in line for line in sorted(written, key=lambda line: line["index"])].index(True) == 30
    assert len(list(out.glob("*_labels.png"))) == 59

    Image.new("RGB", (64, 64)).save(images / "30.png")  # the next start predicts this one alone
    assert main([*arguments, "--ray", cluster.address]) == 0
    assert len(lines.read_text().split("\n\n")) == 2
    assert len([line for line in lines.read_text().splitlines() if line]) == 61
    capsys.readouterr()
    assert main(["predict", str(model), images.as_uri(), "--json", "--device", "cpu"]) == 0
    alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    together = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "labels"} for line in together] == alone
