"""Files that are not on this machine: which names are URLs of them, and the file systems (fsspec) that have them.

A file system must not cross a fork: its connections would be those of both processes. So none is kept anywhere: who
needs one asks :func:`filesystem` for it, which costs nothing the second time in a process.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_path, make_folder

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

PAUSES = (0.5, 2.0)
"""Seconds before what could not be reached is asked for again."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # a single letter is a drive
_URL_AS_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?=[^/])")  # what pathlib makes of one
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHAINED = re.compile(r"::[^/]*://")
_SECRETS = re.compile(r"(?<=://)[^/@]*@|\?.*", re.DOTALL)  # user and password; the query, which may be a signature
_WITHOUT_QUERIES = ("s3", "s3a", "gs", "gcs", "hf", "memory", "file", "local")  # where a "?" belongs to a name
_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "remote")),
    **dict.fromkeys(("http", "https"), ("aiohttp", "remote")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gs")),
    "hf": ("huggingface_hub", "hub"),
}
# Errors of libraries that may not be there.
_DENIED = {"NoCredentialsError", "PartialCredentialsError", "GatedRepoError"}
_FINAL = {
    *("ParamValidationError", "NoRegionError", "InvalidRegionError", "ProfileNotFound", "ConfigParseError"),
    *(
        "OfflineModeIsEnabled",
        "HFValidationError",
        "HfUriError",
        "InvalidURL",
        "InvalidUrlClientError",
        "UnsupportedProtocol",
    ),
}


def is_url(text: str | Path) -> bool:
    """Whether a text is a URL, as ``s3://bucket/folder``, rather than a path."""
    return isinstance(text, str) and _URL.match(text) is not None


def url_of(place: str | Path) -> str | None:
    """The URL that a text is, or a ``Path`` that was made of it, which has lost a slash; None for a path.

    What comes before its colon is in small letters, whatever it was.
    """
    match = (_URL if isinstance(place, str) else _URL_AS_PATH).match(str(place))
    if match is None or (isinstance(place, Path) and place.exists()):
        return None
    protocol = match[1].lower()
    slashes = "://" if isinstance(place, str) or protocol not in ("file", "local") else ":///"
    return f"{protocol}{slashes}{str(place)[match.end() :]}"


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and what that calls the place.

    It is this process's own; after a fork ask again. Credentials and endpoints are what each file system takes from
    its environment and its files (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``HF_TOKEN``, ``FSSPEC_*``).

    Raises:
        InputError: A package is missing, nothing is known of such URLs, or this one is malformed or access denied.
        DimvidaError: It cannot be reached.
    """
    protocol, _, place = url.partition("://")
    parts = [part for part in place.split("/") if part]
    if protocol == "hf" and len(parts) < 2 + (parts[:1] == ["datasets"]):
        raise InputError(f"{shown(url)}: names no repository; one of data is hf://datasets/owner/name")
    with one_line(url):
        try:
            from fsspec.core import get_filesystem_class, url_to_fs
        except ImportError:
            raise InputError(f"{shown(url)}: needs fsspec; pip install 'dimvida[remote]'") from None
        try:
            if _CHAINED.search(url):
                system, path = url_to_fs(url)
            else:  # which would take what follows a "::" in a name for another file system
                kind = get_filesystem_class(protocol)
                system, path = kind(**kind._get_kwargs_from_urls(url)), kind._strip_protocol(url)
        except ImportError as error:
            extra = _EXTRAS.get(protocol)
            needs = f"needs {extra[0]}; pip install 'dimvida[{extra[1]}]'" if extra else str(error)
            raise InputError(f"{shown(url)}: {needs}") from None
        except ValueError as error:
            raise InputError(f"{shown(url)}: {error}; known are s3://, gs://, hf://, https:// and alike") from None
    # Libraries log what they then raise, which is told once: with this it reaches only who has asked for logs.
    logger = logging.getLogger(type(system).__module__.partition(".")[0])
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return system, path


class NoCopy(InputError):
    """No copy of a file can be made on this machine, which says nothing of the file."""


class NoRoom(DimvidaError):
    """The disk for copies is full; the same may go well when it is not."""


@contextmanager
def one_line(url: str) -> Iterator[None]:
    """Whatever a file system raises while this lasts becomes one line about a URL.

    Raises:
        InputError: There is no such thing, or access to it is denied.
        DimvidaError: It cannot be reached; the same may go well another time.
    """
    try:
        yield
    except (DimvidaError, MemoryError):
        raise
    except Exception as error:  # each file system has its own
        raise trouble(url, error) from error


def trouble(url: str, error: Exception) -> DimvidaError:
    """What ``one_line`` makes of an error of a file system."""
    hidden = error.__cause__ if isinstance(error, FileNotFoundError) and url.startswith("http") else None
    if isinstance(hidden, Exception) and not isinstance(hidden, FileNotFoundError):
        return trouble(url, hidden)  # fsspec says of whatever a server answers that there is no such file
    # Signatures are in messages of libraries, too.
    reason = " ".join(_SECRETS.sub("", str(getattr(error, "strerror", None) or error)).split())[:200]
    reason = reason or type(error).__name__
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return InputError(f"{shown(url)}: no such file or folder")
    if isinstance(error, PermissionError) or status in (401, 403) or type(error).__name__ in _DENIED:
        return InputError(f"{shown(url)}: access denied ({reason}); give credentials in the environment")
    if type(error).__name__ in _FINAL or status == 400:
        return InputError(f"{shown(url)}: cannot be asked for ({reason})")
    return DimvidaError(f"{shown(url)}: cannot be reached ({reason}); try again")


def shown(url: str) -> str:
    """A URL without what nobody else should read: a password or a signature in it."""
    text = _SECRETS.sub("", url.partition("?")[0])
    protocol, _, place = url.partition("://")
    return text + "".join(place.partition("?")[1:]) if protocol in _WITHOUT_QUERIES else text


def shown_words(words: Iterable[str]) -> list[str]:
    """A command line, its URLs as they are ``shown``."""
    return [shown(word) if "://" in word else word for word in words]


def ask(url: str, call: Callable[[], T]) -> T:
    """What ``call`` gives, which asks a file system for something; what cannot be reached is asked for again.

    Raises:
        InputError, DimvidaError: The file system refused, or could not be reached; see ``one_line`` for which is which.
    """
    for pause in (*PAUSES, None):
        try:
            with one_line(url):
                return call()
        except (InputError, NoRoom):
            raise
        except DimvidaError:
            if pause is None:
                raise
            time.sleep(pause)
    raise AssertionError


def version_of(info: Mapping[str, Any]) -> str | None:
    """What tells a file's content from that which was there before, as its file system says it; None for nothing."""
    names = ("ETag", "etag", "md5Hash", "blob_id", "Content-MD5", "Last-Modified", "LastModified", "mtime", "created")
    return next((f"{name} {info[name]}" for name in names if info.get(name)), None)


def cache_folder() -> Path:
    """Where copies of remote files are: ``DIMVIDA_CACHE``, or ``dimvida`` below the user's folder for caches."""
    if chosen := os.environ.get("DIMVIDA_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dimvida"


def fetched(url: str) -> Path:
    """A copy of a file on this machine, made anew where the file has changed.

    Processes that want the same at once make it once. Copies of what the file was before are removed.

    Raises:
        InputError: There is no such file, access is denied, or no copy can be made where they are (``NoCopy``).
        DimvidaError: It cannot be reached, the connection ended before the file did, or there is no room (``NoRoom``).
    """

    def look() -> Mapping[str, Any]:
        fs, path = filesystem(url)
        fs.invalidate_cache()
        return fs.info(path)

    info = ask(url, look)
    version, size = version_of(info), info.get("size")
    name = hashlib.sha256(url.encode()).hexdigest()[:32]
    content = hashlib.sha256(f"{version} {size}".encode()).hexdigest()[:16]
    folder = cache_folder() / name
    copy = folder / f"{content}{Path(shown(url)).suffix}"
    try:
        make_folder(folder)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if version is None or not copy.exists() or copy.stat().st_size != size:
                for old in folder.glob(f"*{copy.suffix}"):
                    old.unlink(missing_ok=True)
                if size is not None and size > (free := shutil.disk_usage(folder).free):
                    raise NoRoom(_not_copied(url, folder, f"it has {size:,} bytes, and {free:,} are free"))
                ask(url, lambda: _fetch(url, copy, size))
    except OSError as error:
        kind = NoRoom if error.errno in _NO_ROOM else NoCopy
        raise kind(_not_copied(url, folder, error.strerror)) from error
    return copy


def _fetch(url: str, copy: Path, size: int | None) -> None:
    fs, path = filesystem(url)
    with atomic_path(copy) as temporary:
        try:
            fs.get_file(path, str(temporary))
        except OSError as error:
            if error.errno in _NO_ROOM:  # here, as no other file system says so of what it has
                raise NoRoom(_not_copied(url, copy.parent, error.strerror)) from error
            raise
        if size is not None and temporary.stat().st_size != size:
            raise DimvidaError(f"{shown(url)}: ended after {temporary.stat().st_size} of {size} bytes; try again")


def _not_copied(url: str, folder: Path, reason: str | None) -> str:
    return f"{shown(url)}: no copy can be made in {folder} ({reason}); choose another folder with DIMVIDA_CACHE"
