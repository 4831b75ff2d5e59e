"""A stand-in for the Hugging Face hub: the few endpoints that creating, committing and fetching a model need."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

import huggingface_hub
import pytest

TOKEN = "hf_right"


class Hub:
    """Models by id: by branch the commits, each with its files; and what was asked for."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, tuple[str, dict[str, bytes]]]] = {}
        self.private: set[str] = set()
        self.uploads: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.address = ""

    def commit(self, repo: str, branch: str, files: dict[str, bytes]) -> str:
        _, before = self.models[repo].get(branch, ("", {}))
        new = {**before, **files}
        sha = hashlib.sha1(repr(sorted((n, hashlib.sha1(c).digest()) for n, c in new.items())).encode()).hexdigest()
        self.models[repo][branch] = (sha, new)
        return sha

    def files(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commits = self.models.get(repo, {})
        return commits.get(revision) or next((each for each in commits.values() if each[0] == revision), None)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, status: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo = "/".join(parts[2:4])
            if repo not in self.hub.models or len(parts) > 4:
                return self.answer(404, X_Error_Code="RepoNotFound")
            return self.answer(200, {"id": repo, "private": repo in self.hub.private, "siblings": []})
        if parts[2:3] != ["resolve"]:
            return self.answer(404)
        repo, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if repo not in self.hub.models or (repo in self.hub.private and not self.may_write):
            return self.answer(401, X_Error_Code="RepoNotFound")
        if (found := self.hub.files(repo, revision)) is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        sha, files = found
        if name not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        etag = hashlib.sha1(files[name]).hexdigest()
        return self.answer(200, files[name], X_Repo_Commit=sha, ETag=f'"{etag}"')

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        self.hub.uploads[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def do_POST(self) -> None:
        self.hub.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = unquote(self.path).strip("/").split("/")
        if parts == ["api", "validate-yaml"]:
            return self.answer(200, {"errors": [], "warnings": []})
        if not self.may_write:
            return self.answer(401, {"error": "Invalid credentials in Authorization header"})
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            url = {"url": f"{self.hub.address}/{repo}"}
            if repo in self.hub.models:
                return self.answer(409, url)
            self.hub.models[repo] = {}
            self.hub.commit(repo, "main", {".gitattributes": b""})
            if "private" in (asked.get("visibility"), *["private"] * bool(asked.get("private"))):
                self.hub.private.add(repo)
            return self.answer(200, url)
        if parts[0] != "api":  # the protocol of Git's large files
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.hub.address}/upload/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        repo, action, branch = "/".join(parts[2:4]), parts[4], "/".join(parts[5:])
        if action == "branch":
            self.hub.models[repo].setdefault(branch, self.hub.models[repo]["main"])
            return self.answer(200, {})
        if branch not in self.hub.models[repo]:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if action == "preupload":
            modes = {True: "lfs", False: "regular"}
            files = [
                {
                    "path": (path := each["path"]),
                    "uploadMode": modes[path.endswith(".safetensors")],
                    "shouldIgnore": False,
                }
                for each in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        entries = [json.loads(line) for line in body.splitlines()]
        files = {
            entry["value"]["path"]: base64.b64decode(entry["value"]["content"])
            if entry["key"] == "file"
            else self.hub.uploads[entry["value"]["oid"]]
            for entry in entries
            if entry["key"] != "header"
        }
        sha = self.hub.commit(repo, branch, files)
        url = f"{self.hub.address}/{repo}/commit/{sha}"
        return self.answer(200, {"commitUrl": url, "commitOid": sha})


@contextmanager
def serve_hub(cache: Any) -> Iterator[Hub]:
    """Serve an empty hub, and let huggingface_hub know it and a cache of its own in place of the real ones."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    constants = huggingface_hub.constants
    with pytest.MonkeyPatch.context() as patch:  # they are read from the environment when the package is imported
        patch.setattr(constants, "ENDPOINT", hub.address)
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # Git's protocol for large files is the simpler one
        patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
        patch.setenv("HF_TOKEN", TOKEN)
        yield hub
    server.shutdown()
    server.server_close()
    thread.join()
