"""Weights of the networks that metrics need: from a file that is given, or downloaded once."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_path
from dimvida.models.weights import open_regular, read_state_dict, user_path

TIMEOUT = 10.0
"""Seconds without an answer after which a download is given up."""

BLOCK = 1 << 20


class Unavailable(DimvidaError):
    """A metric cannot be measured here; the message says why, and what would help."""


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A file of weights on the web.

    Attributes:
        option: The command line's option that takes it as a file; None if there is none.
        url: Where it is; the file's name ends with the first digits of its SHA-256, as torch.hub has it.
    """

    option: str | None
    url: str

    @property
    def cached(self) -> Path:
        """Where it is looked for, and kept once it is downloaded: the place that torch.hub uses too."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]

    def place(self, given: Path | None) -> str:
        """What to call the file in messages: the one that is given, or the published one."""
        return f"{self.option} {given}" if given else str(self.cached)

    @property
    def digits(self) -> str:
        """The first digits of its SHA-256."""
        found = re.search(r"-([0-9a-f]{8,})\.[a-z]+$", self.url)
        return found[1] if found else ""


INCEPTION = PublishedWeights(
    "--inception-weights",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)
SQUEEZENET = PublishedWeights("--lpips-weights", "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth")


def obtain_weights(published: PublishedWeights, given: Path | None) -> dict[str, Tensor]:
    """Named tensors of a given file, or of the published one, which is downloaded if it is not there yet.

    Raises:
        InputError: The given file cannot be used.
        Unavailable: No file is given, and there is none to be had.
    """
    if given is not None:
        return read_state_dict(given, published.option)
    path = published.cached
    if not path.is_file():
        try:
            _download(published, path)
        except (OSError, ValueError, http.client.HTTPException) as error:
            give = f"give it with {published.option}, or " if published.option else ""
            raise Unavailable(
                f"its weights could not be downloaded ({_why(error)}); fetch {published.url} and {give}put it to "
                f"{_shown(path)}"
            ) from None
    try:
        return read_state_dict(path)
    except InputError as error:
        raise Unavailable(f"{error}; delete it, and it is downloaded again") from None


def require_given(published: PublishedWeights, given: Path | None) -> None:
    """Raise InputError now, before any other work, if a file is given and is not there."""
    if given is None:
        return
    try:
        with open_regular(user_path(given)):
            pass
    except InputError as error:
        raise InputError(f"{published.option} {error}") from None


def misfit(error: RuntimeError) -> str:
    """One line on why ``load_state_dict`` refused."""
    problems = str(error).splitlines()[1:] or [str(error)]
    return problems[0].strip().rstrip(".")[:160]


def _why(error: Exception) -> str:
    """What went wrong in a download, in words for those who do not know this code."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code}, {error.reason}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, socket.gaierror):
        return "its server's name is not found; is this machine online?"
    if isinstance(cause, TimeoutError):
        return "timed out: its server does not answer"
    if isinstance(cause, ssl.SSLError):
        return "its server's certificate is not accepted"
    if isinstance(cause, http.client.HTTPException):
        return "the connection was cut off, or what answers is no web server"
    if isinstance(cause, OSError):
        where = f"{_shown(Path(cause.filename))}: " if cause.filename else ""
        return where + (cause.strerror or str(cause)).lower()
    return str(cause)


def _shown(path: Path) -> str:
    """A path with ``~`` for the user's folder, whose name is nobody else's business."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


def _download(published: PublishedWeights, path: Path) -> None:
    """Raises OSError, ValueError or an HTTPException for whatever goes wrong."""
    print(f"downloading {published.url}", file=sys.stderr, flush=True)
    digest = hashlib.sha256()
    # urlopen's timeout holds for connecting and for every read.
    with urllib.request.urlopen(published.url, timeout=TIMEOUT) as response:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            while block := response.read(BLOCK):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            if not digest.hexdigest().startswith(published.digits):
                raise ValueError("what came is not that file: its SHA-256 differs")
