"""Trees of files: one small interface for folders (``folder_tree``) and zip files (``zip_tree``).

Names inside a tree are relative, with "/" between the parts, whatever holds them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from dimvida.data.names import natural_key
from dimvida.errors import InputError, UnreadableImage

READ_LIMIT = 256 * 2**20
"""Most bytes that are read of one file."""

SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""What archivers, file servers and file systems leave in folders, with thumbnails and copies of what is there."""

COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".tzst", ".lz4", ".7z", ".rar")
"""Names of archives of which no part can be read without all that is before it."""

_IN_ARCHIVE = "is in an archive; unpack it and give the folder"
_FIRST_FOLDERS, _MOST_LEVELS = 64, 3


class Unlistable(InputError):
    """A folder whose content is not known.

    Attributes:
        reason: Why it cannot be listed.
    """

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: cannot be listed ({reason})")
        self.reason = reason


class Listing(NamedTuple):
    """What is directly in a folder, by full names in the tree, each in natural order.

    Attributes:
        folders: Folders that are looked into.
        files: Ordinary files, whatever is in them.
        hidden: Dotfiles, and with a "/" at the end dotted folders and ``SYSTEM_FOLDERS``, which are not looked into.
        circular: Links to a folder around them.
        unusable: Everything else, each with what it is: links to nothing, devices and the like.
    """

    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    circular: tuple[str, ...] = ()
    unusable: tuple[tuple[str, str], ...] = ()


class FileTree(ABC):
    """Folders and files below a root.

    Safe for concurrent use by threads, by forked processes and, pickled, by spawned ones.
    """

    path: Path | str
    form: str

    @abstractmethod
    def listing(self, folder: str = "") -> Listing:
        """What is directly in ``folder``.

        Raises:
            Unlistable: It cannot be looked into.
            InputError: A name in it is not UTF-8.
        """

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""

    @abstractmethod
    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        """The whole file; no more memory than the file needs is asked for.

        Raises:
            UnreadableImage: Missing, damaged, not permitted, no ordinary file, or larger than ``limit`` bytes.
        """

    @abstractmethod
    def blocks(self, name: str) -> Iterator[bytes]:
        """The file in blocks of about 1 MiB; raises as ``read``, but for the limit."""

    @abstractmethod
    def head(self, name: str, size: int) -> bytes:
        """The first ``size`` bytes of the file, or all of a shorter one; raises as ``read``."""

    def open(self, name: str) -> IO[bytes]:
        """The file, to read any part of it; raises as ``read``. Not for another process."""
        raise UnreadableImage(self.location(name), _IN_ARCHIVE)

    def part(self, name: str, offset: int, size: int) -> bytes:
        """Some bytes of the file, fewer where it ends before; raises as ``read``."""
        raise UnreadableImage(self.location(name), _IN_ARCHIVE)

    def local(self, name: str) -> Path:
        """A file on this machine that has its content, for what can read nothing else; raises as ``read``."""
        raise UnreadableImage(self.location(name), _IN_ARCHIVE)

    @abstractmethod
    def location(self, name: str) -> str:
        """What an error message calls the file."""

    def children(self, folder: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Full names of the folders and of the files directly in ``folder``, each in natural order."""
        listing = self.listing(folder)
        return listing.folders, listing.files

    def lines(self, name: str, longest: int) -> Iterator[bytes]:
        """The file's lines without their ends, read as they are asked for.

        Raises:
            UnreadableImage: As ``read``, or a line has more than ``longest`` bytes.
        """
        rest = b""
        for block in self.blocks(name):
            *whole, rest = (rest + block).split(b"\n")
            if max(map(len, (*whole, rest))) > longest:
                raise UnreadableImage(self.location(name), f"has a line of more than the limit of {longest} bytes")
            yield from whole
        yield rest


class NamedTree(FileTree):
    """A tree all of whose names are known when it is opened, as ``index_names`` has them in ``_listings``."""

    _listings: dict[str, Listing]

    def listing(self, folder: str = "") -> Listing:
        return self._listings.get(folder, Listing())


def files_below(tree: FileTree, suffixes: tuple[str, ...]) -> list[str]:
    """Files of such names, which hold many objects each, in order: those of a folder before those of folders in it.

    Such a set has few folders. Whether it is one is therefore told by the first of them, and nobody waits for a look
    into each of the folders that images lie in.
    """
    found: list[str] = []
    waiting, looked = deque([""]), 0
    while waiting and (found or looked < _FIRST_FOLDERS):
        folder = waiting.popleft()
        looked += 1
        try:
            folders, files = tree.children(folder)
        except Unlistable:
            if not folder:
                raise
            continue  # whoever looks at everything tells of it
        found += [name for name in files if name.lower().endswith(suffixes)]
        if folder.count("/") < _MOST_LEVELS:
            waiting += folders
    return found


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not looked at."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def index_names(files: Iterable[str], folders: Iterable[str] = (), hidden: Iterable[str] = ()) -> dict[str, Listing]:
    """For each folder what is in it, made of the full names of files, folders, and what is hidden."""
    found: dict[str, tuple[set[str], set[str], set[str]]] = {"": (set(), set(), set())}
    for kind, names in enumerate((folders, files, hidden)):
        for name in names:
            place, child = kind, name
            while child:
                parent = child.rstrip("/").rpartition("/")[0]
                known = parent in found
                found.setdefault(parent, (set(), set(), set()))[place].add(child)
                if known and place == 0:
                    break
                place, child = 0, parent
    return {
        folder: Listing(*(tuple(sorted(names, key=natural_key)) for names in kinds)) for folder, kinds in found.items()
    }
