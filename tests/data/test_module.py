import pickle
import threading

import numpy as np
import pytest
import torch
from data.classification.test_folders import root as image_root  # noqa: F401
from lightning import Callback, Trainer

from gpvit.data import Digits, ImageFolder, Preprocessing, Shards
from gpvit.data.module import ImageData
from gpvit.data.write_shards import write_shards
from gpvit.errors import UserError


class Numbers(ImageData):
    def __init__(self, **options):
        super().__init__(["a", "b"], None, **{"batch_size": 3, "num_workers": 0, **options})

    def training_samples(self):
        return list(range(30))

    validation_samples = training_samples


class Holder(Callback):
    """Cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()


def quiet_trainer(**options):
    return Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        **{"devices": 1, **options},
    )


def test_processes_divide_both_parts_once_told_apart():
    seen, validated = [], []
    for rank in range(2):
        data = Numbers()
        data.distribute(rank, 2, seed=5)
        data.setup("fit")
        seen += torch.cat(list(data.train_dataloader())).tolist()
        validated += torch.cat(list(data.val_dataloader())).tolist()
    assert sorted(seen) == sorted(validated) == list(range(30))


def test_the_seed_decides_the_order():
    orders = []
    for seed in (5, 5, 6):
        data = Numbers()
        data.distribute(0, 1, seed)
        data.setup()
        orders.append(torch.cat(list(data.train_dataloader())).tolist())
    assert orders[0] == orders[1] != orders[2]


def test_a_trainer_tells_rank_and_world_size_unless_distribute_did(monkeypatch):
    data = Numbers()
    assert data.process[:2] == (0, 1)
    data.trainer = quiet_trainer()
    monkeypatch.setattr(Trainer, "world_size", 4)
    monkeypatch.setattr(Trainer, "global_rank", 3)
    assert data.process[:2] == (3, 4)
    data.distribute(1, 2, 0)
    assert data.process == (1, 2, 0)


def test_loader_processes_default_to_one_per_core_at_most_four():
    assert 1 <= Numbers(num_workers=None).num_workers <= 4
    assert Digits().num_workers == 0


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"num_workers": -1}, {"max_damaged": -1}])
def test_wrong_numbers_are_refused(options):
    with pytest.raises(UserError, match="give at least"):
        Numbers(**options)


@pytest.mark.parametrize("kind", ["digits", "folder", "shards"])
def test_samples_go_to_worker_processes_without_data_module_and_trainer(kind, image_root, tmp_path_factory):  # noqa: F811
    preprocessing = Preprocessing((3, 16, 16))
    if kind == "digits":
        data = Digits(image_size=8)
    elif kind == "folder":
        data = ImageFolder(image_root, preprocessing=preprocessing)
    else:
        folder = tmp_path_factory.mktemp("shards")
        write_shards(image_root, folder, images_per_shard=4)
        data = Shards(folder, preprocessing=preprocessing)
    data.trainer = quiet_trainer(callbacks=[Holder()])
    data.prepare_data()
    data.setup("fit")
    for samples in (data.train_set, data.val_set, data.train_dataloader().dataset):
        copy = pickle.loads(pickle.dumps(samples))
        assert len(copy) == len(samples)
    (image, label), (again, same) = data.val_set[1], pickle.loads(pickle.dumps(data.val_set))[1]
    assert np.array_equal(image, again)
    assert label == same
