"""What is in a tree of image files: every file and folder of it is an image, known to be none, or counted here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from dimvida.data.image_files import SIGNATURE_SIZE, is_image_name, is_unsupported_name, looks_like_image
from dimvida.data.metadata import METADATA_NAME
from dimvida.data.names import composed, counted
from dimvida.data.source import BadFile, MultiViewSource
from dimvida.data.tree import SYSTEM_FOLDERS, FileTree, Listing, Unlistable
from dimvida.errors import InputError, UnreadableImage

DEPTH_LIMIT = 32
"""Most levels of folders that are looked into."""

_OURS = {
    METADATA_NAME,
    "cameras.json",
    "index.csv",
    "README.md",
    "generation.json",
    "report.json",
    "Thumbs.db",
    "desktop.ini",
}
_CARD_PICTURE = ".contact-sheet.png"  # of the data set card that generate writes
_UNTOLD = SYSTEM_FOLDERS | {".git", ".svn", ".Spotlight-V100", ".Trashes", ".fseventsd", ".ipynb_checkpoints"}
_NO_IMAGES = (
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".html", ".log"),
    *(".lst", ".py", ".sh", ".npy", ".npz", ".tar", ".zip", ".gz", ".pt", ".pth", ".safetensors", ".db", ".ini"),
)


@dataclass
class Survey:
    """Names in a tree, each list in the tree's order.

    Attributes:
        images: Files that are images by their names or by their first bytes.
        metadata: Files called ``metadata.jsonl``.
        bad: What may be an image and cannot be looked at, and why.
        others: Files that are no images.
        hidden: Hidden images and folders.
        circular: Links to a folder around them.
        empty: Folders with nothing of this below them.
        twins: Images in formats that are not decoded, each beside one of its name that is; cameras write both.
    """

    images: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    circular: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)

    def add(self, tree: FileTree, listing: Listing) -> None:
        """Sort in what is directly in a folder, other folders excepted."""
        for name in listing.files:
            self._add_file(tree, name)
        for name, reason in listing.unusable:
            if name.rpartition("/")[2] == METADATA_NAME:
                self.metadata.append(name)  # whose reading says what is wrong
            elif _is_no_image(name):
                self.others.append(name)
            else:
                self.bad.append((name, reason))
        self.hidden += [name for name in listing.hidden if _worth_telling(tree, name)]
        self.circular += listing.circular

    def _add_file(self, tree: FileTree, name: str) -> None:
        if name.rpartition("/")[2] == METADATA_NAME:
            self.metadata.append(name)
        elif is_image_name(name):
            self.images.append(name)
        else:
            try:
                (self.images if _looks_like_image(tree, name) else self.others).append(name)
            except UnreadableImage as error:
                if _is_no_image(name):
                    self.others.append(name)
                else:
                    self.bad.append((name, error.reason))

    def set_twins_aside(self) -> None:
        """Move from the images those whose picture is there in another format, which is decoded."""
        decoded = {name.rpartition(".")[0] for name in self.images if not is_unsupported_name(name)}
        self.twins = [name for name in self.images if is_unsupported_name(name) and name.rpartition(".")[0] in decoded]
        aside = set(self.twins)
        self.images = [name for name in self.images if name not in aside]

    def notes(self) -> list[str]:
        """A line for each kind of thing that is no reason to fail."""
        others = [name for name in self.others if not _is_ours(name)]
        kinds = (
            ("file that is no image", "files that are no images", others),
            ("hidden file or folder", "hidden files or folders", self.hidden),
            ("link to a folder around it", "links to a folder around them", self.circular),
            ("folder without images", "folders without images", self.empty),
            ("image beside one of its name that is", "images beside ones of their names that are", self.twins),
        )
        return [
            f"not read: {len(names)} {one if len(names) == 1 else more} (first: {names[0]})"
            for one, more, names in kinds
            if names
        ]


def survey(tree: FileTree) -> Survey:
    """Look at everything in a tree.

    Raises:
        InputError: The root cannot be listed, or a name is not UTF-8.
    """
    found = Survey()
    _visit(tree, "", found, 0)
    found.set_twins_aside()
    return found


def _visit(tree: FileTree, folder: str, found: Survey, depth: int) -> bool:
    """Whether there is anything of interest in a folder."""
    before = len(found.images) + len(found.bad) + len(found.metadata)
    listing = tree.listing(folder)
    found.add(tree, listing)
    _refuse_alike(tree, listing.folders)
    empty = []
    for child in listing.folders:
        if depth == DEPTH_LIMIT:
            found.bad.append((child, f"in more than {DEPTH_LIMIT} folders"))
            continue
        try:
            if not _visit(tree, child, found, depth + 1):
                empty.append(child)
        except Unlistable as error:
            found.bad.append((child, f"a folder that cannot be listed ({error.reason})"))
    something = len(found.images) + len(found.bad) + len(found.metadata) > before
    if something or not folder:
        found.empty += empty
    return something


def _refuse_alike(tree: FileTree, folders: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for folder in folders:
        other = seen.setdefault(composed(folder), folder)
        if other != folder:
            raise InputError(
                f"{tree.location(folder)}: there are two folders of this name, in two Unicode forms; rename one"
            )


def tell(source: MultiViewSource, tree: FileTree, bad: Sequence[tuple[str, str]], notes: Iterable[str]) -> None:
    """Add to a source what of its tree was left out, each file with its reason, and lines about the rest."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in bad:
        by_reason.setdefault(reason, []).append(name)
    lines = [
        f"left out: {counted(len(names), 'file')}, {reason} (first: {names[0]})" for reason, names in by_reason.items()
    ]
    source.notes = (*lines, *source.notes, *notes)
    source.left_out = (*source.left_out, *(BadFile(tree.location(name), reason) for name, reason in bad))


def tell_beside(source: MultiViewSource, tree: FileTree, own: Collection[str], reason: str | None = None) -> Survey:
    """Tell, as ``tell`` does, of what is in the top folder beside the files that hold a source's objects.

    Args:
        source: Gets the notes, and what was left out.
        tree: The tree that the source's files are in.
        own: Names of files of it that are the source's, also within folders.
        reason: Why images and folders beside them are left out; without one they are nobody's business.

    Returns:
        What there is.
    """
    listing, found = tree.listing(), Survey()
    names, tops = set(own), {name.partition("/")[0] for name in own}
    found.add(tree, listing._replace(files=tuple(name for name in listing.files if name not in names)))
    strays = [] if reason is None else [name for name in (*found.images, *listing.folders) if name not in tops]
    tell(source, tree, [*found.bad, *((name, reason) for name in strays)], found.notes())
    return found


def _is_no_image(name: str) -> bool:
    return name.lower().endswith(_NO_IMAGES) or _is_ours(name)


def _is_ours(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base in _OURS or (base.startswith("shard-") and base.endswith((".json", ".jsonl")))


def _looks_like_image(tree: FileTree, name: str) -> bool:
    return looks_like_image(tree.head(name, SIGNATURE_SIZE))


def _worth_telling(tree: FileTree, name: str) -> bool:
    """Whether something hidden is an image, or a folder that may hold some and is none that systems leave."""
    base = name.rstrip("/").rpartition("/")[2]
    if name.endswith("/"):
        return base not in _UNTOLD
    try:
        return (
            base != _CARD_PICTURE
            and not base.startswith("._")
            and (is_image_name(base) or _looks_like_image(tree, name))
        )
    except UnreadableImage:
        return False
