"""Files that are not on this machine: which names are URLs of them, and the file systems (fsspec) that have them.

A file system must not cross a fork: its connections would be those of both processes. So none is kept anywhere: who
needs one asks :func:`filesystem` for it, which costs nothing the second time in a process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.errors import DimvidaError, InputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_SECRETS = re.compile(r"(?<=://)[^/@]*@|\?.*", re.DOTALL)  # user and password; the query, which may be a signature
_EXTRAS = {"s3": "remote", "s3a": "remote", "http": "remote", "https": "remote", "hf": "hub"}
_DENIED = {"NoCredentialsError", "PartialCredentialsError", "GatedRepoError"}  # of libraries that may not be there


def is_url(text: str | Path) -> bool:
    """Whether a text is a URL, as ``s3://bucket/folder``, rather than a path."""
    return isinstance(text, str) and _URL.match(text) is not None


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and what that calls the place.

    It is this process's own; after a fork ask again. Credentials and endpoints are what each file system takes from
    its environment and its files (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``HF_TOKEN``, ``FSSPEC_*``).

    Raises:
        InputError: A package is missing, nothing is known of such URLs, or this one is malformed or access denied.
        DimvidaError: It cannot be reached.
    """
    protocol = url.partition("://")[0]
    with one_line(url):
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise InputError(f"{shown(url)}: needs fsspec; pip install 'dimvida[remote]'") from None
        try:
            return url_to_fs(url)
        except ImportError as error:
            extra = _EXTRAS.get(protocol)
            needs = f"needs another package; pip install 'dimvida[{extra}]'" if extra else str(error)
            raise InputError(f"{shown(url)}: {needs}") from None
        except ValueError as error:
            raise InputError(f"{shown(url)}: {error}; known are s3://, gs://, hf://, https:// and alike") from None


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
    # Signatures are in messages of libraries, too.
    reason = " ".join(_SECRETS.sub("", str(getattr(error, "strerror", None) or error)).split())[:200]
    reason = reason or type(error).__name__
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return InputError(f"{shown(url)}: no such file or folder")
    if isinstance(error, PermissionError) or status in (401, 403) or type(error).__name__ in _DENIED:
        return InputError(f"{shown(url)}: access denied ({reason}); give credentials in the environment")
    return DimvidaError(f"{shown(url)}: cannot be reached ({reason}); try again")


def shown(url: str) -> str:
    """A URL without what nobody else should read: a password or a signature in it."""
    return _SECRETS.sub("", url)
