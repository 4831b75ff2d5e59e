import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from gpvit.data.module import ImageData
from gpvit.data.samplers import EpochOrder, ResumableBatchSampler, Seeded


class Draws(Dataset):
    """Each sample is its index and what the three random generators say."""

    def __len__(self):
        return 22

    def __getitem__(self, index):
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))

    def name(self, index):
        return f"file {index}"


def collate(samples):
    return samples, float(torch.rand(()))


def loader(workers=0, seed=3):
    data = ImageData(["a", "b"], None, batch_size=4, num_workers=workers)
    data.distribute(0, 1, seed)
    return data.train_loader(Draws(), collate_fn=collate)


@pytest.mark.parametrize(("length", "batch_size", "world"), [(22, 4, 1), (22, 4, 2), (24, 4, 3), (5, 1, 5), (9, 3, 2)])
def test_processes_share_an_epoch_in_steps_of_all_of_them(length, batch_size, world):
    order = EpochOrder(length)
    for epoch in (0, 1, 7):
        ranks = [ResumableBatchSampler(order, batch_size, 0, rank, world) for rank in range(world)]
        for rank in ranks:
            rank.set_epoch(epoch)
        steps = list(zip(*ranks, strict=True))
        assert len(steps) == len(ranks[0]) == length // (batch_size * world)
        together = [key for step in steps for batch in step for key in batch]
        assert together == [(epoch, index) for index in order.indices(0, epoch).tolist()[: len(together)]]
        assert all([i for _, i in steps[-1][r]] == ranks[r].batch(epoch, len(steps) - 1) for r in range(world))


@pytest.mark.parametrize(("length", "world", "size"), [(3, 1, 3), (3, 2, 2), (1, 4, 1), (7, 2, 4)])
def test_fewer_samples_than_a_step_make_one_of_all(length, world, size):
    parts = [list(ResumableBatchSampler(EpochOrder(length), 8, 0, rank, world)) for rank in range(world)]
    assert [[len(batch) for batch in part] for part in parts] == [[size]] * world
    assert {index for part in parts for batch in part for _, index in batch} == set(range(length))


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="no sample"):
        ResumableBatchSampler(EpochOrder(0), 8)


def test_passes_that_end_count_epochs_and_skipping_holds_for_one_pass():
    batches = ResumableBatchSampler(EpochOrder(22), 4)
    first, second = list(batches), list(batches)
    assert {epoch for batch in first for epoch, _ in batch} == {0}
    assert {epoch for batch in second for epoch, _ in batch} == {1}
    batches.set_epoch(0)
    batches.skip(3)
    assert (list(batches), list(batches)) == (first[3:], second)
    assert len(batches) == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_samples_and_batches_vary_alike_with_any_number_of_workers_from_anywhere(workers):
    reference = list(loader())
    assert list(loader(workers)) == reference
    late = loader(workers)
    late.batch_sampler.skip(2)
    assert list(late) == reference[2:]
    draws = [draw for samples, batch_draw in reference for draw in [batch_draw, *(d for s in samples for d in s[1:])]]
    assert len(set(draws)) == len(draws) == 5 * (1 + 4 * 3)


def test_each_epoch_varies_a_sample_anew_and_each_seed_too():
    seen = [{s[0]: s[1:] for samples, _ in one for s in samples} for one in (loader(), loader(seed=4))]
    again = loader()
    again.batch_sampler.set_epoch(1)
    seen.append({s[0]: s[1:] for samples, _ in again for s in samples})
    common = set.intersection(*map(set, seen))
    assert len(common) > 5
    assert all(len({one[index] for one in seen}) == 3 for index in common)


def test_loading_leaves_the_random_state_as_it_was():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = draw()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    list(loader())
    assert draw() == expected


def test_the_seed_is_the_runs(monkeypatch):
    torch.manual_seed(5)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert ImageData(["a", "b"], None, 1).process[2] == 5
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert ImageData(["a", "b"], None, 1).process[2] == 7


def test_samples_have_names():
    assert Seeded(Draws(), 0).name(3) == "file 3"
    assert Seeded([1, 2], 0).name(1) == "sample 1"


@pytest.mark.parametrize("world", [1, 2, 3, 22])
def test_processes_validate_each_image_once(world):
    parts = []
    for rank in range(world):
        data = ImageData(["a", "b"], None, batch_size=4, num_workers=0)
        data.val_set = list(range(22))
        data.distribute(rank, world, 0)
        parts += torch.cat(list(data.val_dataloader())).tolist()
    assert sorted(parts) == list(range(22))


def test_a_process_without_a_validation_image_is_refused():
    data = ImageData(["a", "b"], None, batch_size=4, num_workers=0)
    data.val_set = [1, 2]
    data.distribute(2, 3, 0)
    with pytest.raises(ValueError, match="fewer validation images than the 3 processes"):
        data.val_dataloader()
