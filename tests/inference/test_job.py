import json
import multiprocessing

import pytest

from gpvit.inference.job import Job
from gpvit.inference.launch import Place, given_place

NAMES = [f"{index}.png" for index in range(10)]


def _start(folder, barrier, outcomes):
    barrier.wait()
    try:
        Job(folder, {"model": "a"}, NAMES)
        outcomes.put("")
    except Exception as error:
        outcomes.put(repr(error))


@pytest.mark.slow
def test_processes_may_start_a_job_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(10):
        barrier, outcomes = context.Barrier(4), context.Queue()
        arguments = (tmp_path / f"{attempt}", barrier, outcomes)
        processes = [context.Process(target=_start, args=arguments) for _ in range(4)]
        for process in processes:
            process.start()
        assert [outcomes.get() for _ in processes] == [""] * 4
        for process in processes:
            process.join()
        assert [path.name for path in (tmp_path / f"{attempt}").iterdir()] == ["job.json"]


def test_each_image_is_one_processes_and_done_ones_are_left_out(tmp_path):
    job = Job(tmp_path, {}, NAMES)
    parts = [job.remaining(rank, 3) for rank in range(3)]
    assert sorted(index for part in parts for index in part) == list(range(10))
    with job.writer(0) as write:
        write({"index": 4, "facts": {"a": 1}})
        write({"index": 5, "error": "damaged"})
    assert job.remaining() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert job.missing() == 8


def test_a_file_name_that_is_not_utf_8_is_kept(tmp_path):
    name = "M\udcfcller.png"  # as Python gives a name in Latin-1
    job = Job(tmp_path, {}, [name])
    with job.writer(0) as write:
        write({"index": 0, "facts": {"source": name}})
    assert Job(tmp_path, {}, [name]).merge() == (1, 0)
    assert json.loads((tmp_path / "predictions.jsonl").read_text(encoding="utf-8")) == {"source": name}


def test_a_line_that_was_cut_off_is_written_anew_and_the_first_result_counts(tmp_path):
    job = Job(tmp_path, {}, NAMES[:3])
    with job.writer(0) as write:
        write({"index": 0, "facts": {"n": "first"}})
        write({"index": 2, "error": "damaged"})
    with (tmp_path / "predictions-0.jsonl").open("ab") as file:
        file.write(b'{"index": 1, "fac')
    assert job.remaining() == [1, 2]
    with job.writer(0) as write:
        write({"index": 1, "facts": {"n": "\N{SNOWMAN}"}})
        write({"index": 0, "facts": {"n": "second"}})
        write({"index": 2, "facts": {"n": "mended"}})
    assert job.merge() == (3, 0)
    merged = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["n"] for line in merged] == ["first", "\N{SNOWMAN}", "mended"]


def test_other_settings_images_or_files_are_refused(tmp_path):
    Job(tmp_path / "job", {"model": "a", "top": 5}, NAMES)
    with pytest.raises(ValueError, match="differ in: model, top"):
        Job(tmp_path / "job", {"model": "b"}, NAMES)
    with pytest.raises(ValueError, match="differ in: images, images_sha256"):
        Job(tmp_path / "job", {"model": "a", "top": 5}, NAMES[1:])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="but no predictions to resume"):
        Job(tmp_path, {}, NAMES)


def _slurm(rank, tasks, step=None):
    given = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "8", "SLURM_LOCALID": str(rank % 4)}
    return given if step is None else {**given, "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_ID": str(step)}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Place(3, 4, 1)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, None),  # an sbatch script
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_LOCALID": "0", "SLURM_STEP_ID": "4294967291"}, None),
        (
            {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0"},
            Place(5, 8, 1),
        ),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_LOCALID": "0", "SLURM_STEP_ID": "0"}, None),
    ],
)
def test_only_a_launcher_gives_a_process_its_place(environment, place):
    assert given_place(2, environment) == place


def test_a_launcher_that_started_another_number_is_refused():
    with pytest.raises(ValueError, match="torchrun started 3 processes here, and --devices says 2"):
        given_place(2, {"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "3"})
