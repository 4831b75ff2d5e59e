"""The Hugging Face hub, or one that ``HF_ENDPOINT`` names: a model's files are fetched, a folder is pushed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi, errors

from gpvit.errors import UserError
from gpvit.version import __version__

SCHEME = "hf-hub:"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
PLACEHOLDER = "USER/NAME"
"""Stands in a model card for the model's id until it has one."""


class HubId(NamedTuple):
    """A model of the hub: ``USER/NAME``, and perhaps a branch, tag or commit."""

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, source: str) -> "HubId":
        """Read ``USER/NAME`` or ``USER/NAME@REVISION``, with or without ``hf-hub:`` before it."""
        repo, _, revision = source.removeprefix(SCHEME).partition("@")
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise UserError(f"{source!r} is no model of the hub: name its user as well, such as {SCHEME}USER/NAME")
        return cls(repo, revision or None)


def fetch(source: str) -> Path:
    """Return the file of weights of a model, ``hf-hub:USER/NAME[@REVISION]``, beside its ``config.json``.

    Both are of one revision, and lie in the cache of huggingface_hub, which is all that is needed without network.
    """
    repo, revision = HubId.parse(source)
    with _explained(source):
        config = Path(huggingface_hub.hf_hub_download(repo, CONFIG, revision=revision))
        commit = config.parent.name
        return Path(huggingface_hub.hf_hub_download(repo, WEIGHTS, revision=commit))


def push_folder(folder: Path, target: str, private: bool = False) -> str:
    """Put the files of a folder, but hidden ones, into a model of the hub in one commit, and return its address.

    Args:
        folder: What to push; of its model card the copy on the hub tells the model's id.
        target: ``USER/NAME``, which is created where it is missing, or ``USER/NAME@BRANCH``.
        private: Show a new model to nobody else; a public one of that name is refused.

    Raises:
        ValueError: If the id names no user, there is no token, or the hub refuses the token or the id.
        ConnectionError: If the hub cannot be reached.
    """
    repo, branch = HubId.parse(target)
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    operations = []
    for name, path in files.items():
        if not any(part.startswith(".") for part in name.parts):
            is_card = str(name) == CARD  # small; others are read from the disk as they are sent
            content = path.read_bytes().replace(PLACEHOLDER.encode(), repo.encode()) if is_card else path
            operations.append(CommitOperationAdd(name.as_posix(), content))
    if huggingface_hub.get_token() is None:
        raise UserError(
            "the hub takes files only with a token: run `hf auth login`, or set HF_TOKEN to one that may write"
        )
    api = HfApi(library_name="gpvit", library_version=__version__)
    with _explained(target):
        api.create_repo(repo, private=private or None, exist_ok=True)  # None: as its owner has it
        if private and not api.model_info(repo).private:
            raise UserError(f"{repo} is there already and public; choose another name, or make it private on the hub")
        if branch is not None:
            api.create_branch(repo, branch=branch, exist_ok=True)
        return str(api.create_commit(repo, operations, commit_message="Add model", revision=branch).commit_url)


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Say of what huggingface_hub raises what to do; each of its versions raises others where there is no network."""
    repo, revision = HubId.parse(source)
    hub = huggingface_hub.constants.ENDPOINT
    try:
        yield
    except UserError:
        raise
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{hub} has no model {repo}, or shows it only to others; check the name, and log in to see private ones "
            "(`hf auth login`, or HF_TOKEN)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{repo} has no revision {revision!r} at {hub}; leave out @{revision}, or correct it"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"could not fetch {source} from {hub}, and the cache ({huggingface_hub.constants.HF_HUB_CACHE}) lacks it: "
            f"check the network or HF_ENDPOINT; elsewhere, `hf download {repo}` fetches a folder to copy here"
        ) from error
    except errors.EntryNotFoundError as error:
        raise UserError(
            f"{repo} at {hub} lacks {CONFIG} or {WEIGHTS}, so gpvit cannot read it; `gpvit hub push` writes both"
        ) from error
    except errors.HFValidationError as error:
        raise UserError(f"{source!r} is no id of the hub: {error}") from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise UserError(
                f"{hub} refuses the token for {repo}: log in with one that may write there (`hf auth login`, or "
                f"HF_TOKEN). It says: {error.server_message or error}"
            ) from error
        raise ConnectionError(
            f"{hub} did not do its part for {repo}; try again. It says: {error.server_message or error}"
        ) from error
    except Exception as error:
        raise ConnectionError(
            f"could not reach {hub} for {repo}; check the network, or HF_ENDPOINT ({error})"
        ) from error
