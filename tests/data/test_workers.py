import subprocess
import sys
import textwrap

from gpvit.data.workers import usable_cores


def test_there_is_a_core():
    assert usable_cores() >= 1


def test_a_program_ends_though_a_pass_is_left_unfinished_and_its_workers_outlive_one_signal():
    script = """
        import os, signal
        from multiprocessing import active_children
        from torch.utils.data import DataLoader
        from gpvit.data.workers import outlive_signals

        def new():
            return DataLoader(range(64), 2, num_workers=1, persistent_workers=True, worker_init_fn=outlive_signals())

        batches = iter(new())
        first = next(batches)
        (worker,) = active_children()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker.pid, number)
        print(1 + len(list(batches)), "batches", flush=True)
        left = iter(new())
        next(left)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("32 batches\n", "")
