"""Shards behind a real server of the S3 protocol, and behind one of plain HTTP, both on this machine."""

import functools
import http.server
import os
import threading
import time
import warnings

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from gpvit.data.classification.remote_folder import RemoteFolder
from gpvit.data.classification.shards import Shards
from gpvit.errors import UserError
from tests.data.classification.test_shards import PLAIN, SMALL, root  # noqa: F401  # a fixture

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


def start(port: int = 0) -> tuple[ThreadedMotoServer, int]:
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    return server, server.get_host_and_port()[1]


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GPVIT_CACHE", str(folder))
    return folder / "shards"


@pytest.fixture
def bucket(root, cache, monkeypatch):  # noqa: F811
    """The shards of `root` in a bucket; its server's port."""
    server, port = start()
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # fsspec keeps those of an earlier server
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    for file in root.iterdir():
        client.upload_file(str(file), "bucket", f"shards/{file.name}")
    servers = [server]
    yield client, port, servers
    servers[-1].stop()


def data(root, **options):  # noqa: F811
    module = Shards(
        root, **{"preprocessing": SMALL, "augmentation": PLAIN, "batch_size": 4, "num_workers": 0, **options}
    )
    module.distribute(0, 1, seed=7)
    module.setup("fit")
    return module


def levels(loader):
    return [batch[0][:, 0, 0, 0].tolist() for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_is_that_of_local_shards_and_resumes(root, bucket, workers):  # noqa: F811
    local, remote = data(root, window=2), data("s3://bucket/shards", window=2, num_workers=workers)
    expected = levels(local.train_dataloader())
    loader = remote.train_dataloader()
    assert levels(loader) == expected
    loader.batch_sampler.set_epoch(0)
    loader.batch_sampler.skip(2)
    assert levels(loader) == expected[2:]
    assert levels(remote.val_dataloader()) == levels(local.val_dataloader())


@pytest.mark.slow
def test_a_server_that_is_away_for_a_while_is_waited_for(root, bucket, cache):  # noqa: F811
    _, port, servers = bucket
    expected = levels(data(root, window=1).train_dataloader())
    remote = data("s3://bucket/shards", window=1)
    for shard in cache.rglob("*.tar"):
        shard.unlink()
    batches = iter(remote.train_dataloader())
    got = [next(batches)[0][:, 0, 0, 0].tolist()]
    for shard in cache.rglob("*.tar"):
        shard.unlink()
    servers[-1].stop()
    threading.Thread(target=lambda: (time.sleep(2), servers.append(start(port)[0])), daemon=True).start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got += [batch[0][:, 0, 0, 0].tolist() for batch in batches]
    assert got == expected


def test_the_disk_holds_no_more_than_it_may(root, bucket, cache):  # noqa: F811
    size = max(shard.stat().st_size for shard in root.glob("*.tar"))
    remote = data("s3://bucket/shards", cache_gb=2.5 * size / 1e9)
    assert levels(remote.train_dataloader()) == levels(data(root).train_dataloader())
    assert sum(shard.stat().st_size for shard in cache.rglob("*.tar")) <= 2.5 * size


def test_a_shard_that_changed_is_fetched_again(root, bucket):  # noqa: F811
    before = levels(data("s3://bucket/shards", window=1).train_dataloader())
    bucket[0].upload_file(str(root / "train-0.tar"), "bucket", "shards/train-1.tar")
    after = levels(data("s3://bucket/shards", window=1).train_dataloader())
    assert before != after


def test_what_is_not_there_is_named(bucket, root):  # noqa: F811
    client = bucket[0]
    with pytest.raises(UserError, match="class_names"):
        data("s3://bucket/elsewhere")
    client.delete_object(Bucket="bucket", Key="shards/train-2.tar")
    with pytest.raises(FileNotFoundError, match=r"s3://bucket/shards/train-2.tar"):
        data("s3://bucket/shards")
    with pytest.raises(UserError, match="cache_gb 0: give more than 0"):
        RemoteFolder("s3://bucket", 0)
    with pytest.raises(UserError, match="cannot be opened"):
        Shards("nonsense://bucket", class_names=3)


@pytest.mark.slow  # s3fs itself asks a silent server some times
def test_a_silent_server_is_told_at_the_start(bucket):
    bucket[2][-1].stop()
    with pytest.raises(OSError, match=r"s3://bucket/shards/_info.json cannot be read"):
        data("s3://bucket/shards")
    bucket[2].append(start(bucket[1])[0])


@pytest.fixture
def web(root):  # noqa: F811
    """A web server of the shards of `root`, and the status that it answers in place of a file, if any."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        status = 200

        def send_head(self):
            return super().send_head() if Quiet.status == 200 else self.send_error(Quiet.status)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", Quiet
    server.shutdown()


def test_a_web_server_will_do(root, cache, web):  # noqa: F811
    assert levels(data(web[0]).train_dataloader()) == levels(data(root).train_dataloader())


@pytest.mark.parametrize(("status", "error"), [(403, PermissionError), (503, OSError), (None, OSError)])
def test_a_web_server_that_fails_costs_no_local_file(status, error, cache, web):
    address, handler = web
    folder = RemoteFolder(address, patience_s=1)
    info = folder.folder / "_info.json"
    folder.refresh(info)
    before = info.read_bytes()
    if status is None:
        folder.address = "http://127.0.0.1:9"  # where nobody listens
    else:
        handler.status = status
    with pytest.raises(error) as raised:
        folder.refresh(info)
    assert not isinstance(raised.value, FileNotFoundError)
    assert info.read_bytes() == before
    folder.address, handler.status = address, 404
    folder.refresh(info)
    assert not info.exists()


def test_a_file_that_makes_room_at_once_is_fetched_again(root, cache, web, monkeypatch):  # noqa: F811
    folder, touched = RemoteFolder(web[0]), []

    def utime(path, touch=os.utime):
        touched.append(path)
        if len(touched) == 1:
            path.unlink()  # as another thread does that needs the room
        touch(path)

    monkeypatch.setattr(os, "utime", utime)
    with folder.open(folder.folder / "train-0.tar") as file:
        assert file.read() == (root / "train-0.tar").read_bytes()
    assert len(touched) == 2
