"""Array shards: ``shard-000012.npy``, uint8 [N, H, W, 3], and ``shard-000012.jsonl`` with a line for each picture.

Gray pictures are [N, H, W, 1].
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dimvida.data.images import CHANNELS, PIXEL_LIMIT, with_channels
from dimvida.data.shards import ShardSource, StoredView, stored_view
from dimvida.data.source import ViewImage
from dimvida.errors import InputError, UnreadableImage


class ArrayShardSource(ShardSource):
    """Views in arrays, which are mapped into memory and never read as a whole."""

    form = "npy"

    def __init__(self, folder: Path, names: Iterable[str], *, split: str | None = None) -> None:
        """See ``ShardSource``."""
        self._arrays = _ArrayCache()
        super().__init__(folder, names, split=split)

    def _index(self, path: Path) -> Iterator[StoredView]:
        lines = path.with_suffix(".jsonl")
        try:
            texts = lines.read_bytes().splitlines()
        except OSError as error:
            raise InputError(f"{lines}: cannot be read ({error.strerror}); it says what is in {path.name}") from None
        pictures = len(self._arrays.get(path))
        if len(texts) != pictures:
            raise InputError(f"{lines}: {len(texts)} lines for the {pictures} pictures in {path.name}")
        for index, text in enumerate(texts):
            where = f"{lines}, line {index + 1}"
            try:
                line = json.loads(text)
                key, view = str(line["key"]), str(line["view"])
            except (ValueError, KeyError, TypeError, RecursionError):
                raise InputError(f"{where}: not a line about a picture") from None
            yield stored_view(key, view, line, (path, index), where)

    def _read(self, file: StoredView) -> ViewImage:
        path, index = file.place
        try:
            array = self._arrays.get(path)
        except InputError as error:
            raise UnreadableImage(self._locate(file), str(error)) from error
        if index >= len(array):
            raise UnreadableImage(self._locate(file), "the array has become shorter")
        pixels = np.array(array[index])
        return with_channels(ViewImage(pixels, hashlib.sha256(pixels.tobytes()).hexdigest()), 3)

    def _locate(self, file: StoredView) -> str:
        path, index = file.place
        return f"{path}[{index}]"


class _ArrayCache:
    """The arrays mapped last. Safe for threads; a copy for another process starts empty."""

    limit = 64

    def __init__(self) -> None:
        self._arrays: dict[Path, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, path: Path) -> np.ndarray:
        with self._lock:
            array = self._arrays.pop(path, None)
            if array is None:
                array = _map(path)
                while len(self._arrays) >= self.limit:
                    del self._arrays[next(iter(self._arrays))]
            self._arrays[path] = array
            return array

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()


def _map(path: Path) -> np.ndarray:
    try:
        # Not np.load, which would read other files than arrays too.
        array = np.lib.format.open_memmap(path, mode="r")
    except MemoryError:
        raise
    except Exception as error:  # a damaged header raises almost anything
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{path}: not a readable array ({reason}); generate or fetch it again") from error
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in CHANNELS:
        raise InputError(f"{path}: {array.dtype} {list(array.shape)}, not uint8 [N, H, W, 1 or 3]")
    if len(array) and not array.size:
        raise InputError(f"{path}: {list(array.shape)}, pictures without pixels")
    if array.shape[1] * array.shape[2] > PIXEL_LIMIT:
        raise InputError(f"{path}: pictures of more than the limit of {PIXEL_LIMIT} pixels")
    return array
