import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from gpvit.data.loader import Share, TrainingLoader
from torch.utils.data import Dataset

from gpvit.data.samplers import EpochBatches, Seeded, Shuffled, run_seed


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


def loader(workers=0, seed=3, **options):
    return TrainingLoader(Seeded(Draws(), seed, collate), EpochBatches(Shuffled(22, seed), 4, **options), workers)


@pytest.mark.parametrize(("length", "batch_size", "world"), [(22, 4, 1), (22, 4, 2), (24, 4, 3), (5, 1, 5), (9, 3, 2)])
def test_processes_share_an_epoch_in_steps_of_all_of_them(length, batch_size, world):
    order = Shuffled(length, 0)
    for epoch in (0, 1, 7):
        ranks = [EpochBatches(order, batch_size, rank, world) for rank in range(world)]
        for rank in ranks:
            rank.set_epoch(epoch)
        steps = list(zip(*ranks, strict=True))
        assert len(steps) == len(ranks[0]) == length // (batch_size * world)
        together = [key for step in steps for batch in step for key in batch]
        assert together == [(epoch, index) for index in order.indices(epoch).tolist()[: len(together)]]
        assert all([i for _, i in steps[-1][r]] == ranks[r].batch(epoch, len(steps) - 1) for r in range(world))


@pytest.mark.parametrize(("length", "world", "size"), [(3, 1, 3), (3, 2, 2), (1, 4, 1), (7, 2, 4)])
def test_fewer_samples_than_a_step_make_one_of_all(length, world, size):
    parts = [list(EpochBatches(Shuffled(length, 0), 8, rank, world)) for rank in range(world)]
    assert [[len(batch) for batch in part] for part in parts] == [[size]] * world
    assert {index for part in parts for batch in part for _, index in batch} == set(range(length))


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="no sample"):
        EpochBatches(Shuffled(0, 0), 8)


def test_passes_that_end_count_epochs_and_skipping_holds_for_one_pass():
    batches = EpochBatches(Shuffled(22, 0), 4)
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
    late.skip(2)
    assert list(late) == reference[2:]
    draws = [draw for samples, batch_draw in reference for draw in [batch_draw, *(d for s in samples for d in s[1:])]]
    assert len(set(draws)) == len(draws) == 5 * (1 + 4 * 3)


def test_each_epoch_varies_a_sample_anew_and_each_seed_too():
    seen = [{s[0]: s[1:] for samples, _ in one for s in samples} for one in (loader(), loader(seed=4))]
    again = loader()
    again.set_epoch(1)
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


def test_workers_start_with_the_first_batch():
    late = loader(1)
    batches = iter(late)
    late.skip(4)  # after the pass was begun, before its first batch
    assert [[s[0] for s in samples] for samples, _ in batches] == [late.batch_sampler.batch(0, 4)]


def test_another_runs_order_is_taken_over():
    taken = loader(seed=8)
    taken.load_state_dict(loader(seed=3).state_dict())
    assert list(taken) == list(loader(seed=3))


def test_the_seed_is_the_runs(monkeypatch):
    torch.manual_seed(5)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert run_seed() == 5
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert run_seed() == Shuffled(3).seed == Seeded(Draws()).seed == 7


def test_samples_have_names():
    assert Seeded(Draws(), 0).name(3) == "file 3"
    assert Seeded([1, 2], 0).name(1) == "sample 1"


@pytest.mark.parametrize("world", [1, 2, 3, 22])
def test_shares_of_a_validation_hold_each_image_once(world):
    shares = [list(Share(Draws(), world, rank)) for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(range(22))
    assert all(len(Share(Draws(), world, rank)) == len(shares[rank]) for rank in range(world))


def test_a_process_without_a_validation_image_is_refused():
    with pytest.raises(ValueError, match="fewer validation images than the 23 processes"):
        Share(Draws(), 23, 22)


def test_a_program_ends_though_a_pass_is_left_unfinished_and_its_workers_outlive_one_signal():
    script = """
        import os, signal, time
        from gpvit.data.loader import TrainingLoader
        from gpvit.data.samplers import EpochBatches, Seeded, Shuffled

        def new():
            batches = EpochBatches(Shuffled(64, 0), 2)
            return TrainingLoader(Seeded(list(range(64)), 0), batches, 1, persistent_workers=True)

        loader = new()
        batches = iter(loader)
        first = next(batches)
        worker = loader._iterator._workers[0]
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker.pid, number)
        print(1 + len(list(batches)), "batches", flush=True)
        left = iter(new())
        next(left)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert told == "32 batches\n"
