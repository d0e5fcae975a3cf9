"""Mesh files: found in a class folder layout, loaded as one mesh in the renderer's axes, and made ready to be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from dimvida.data.folder_tree import FolderTree
from dimvida.data.mesh_text import MeshText
from dimvida.errors import InputError, Unreadable

if TYPE_CHECKING:
    import trimesh
    from trimesh.visual.material import Material

DEFAULT_COLOUR = (0.62, 0.64, 0.67)
"""RGB of a mesh without colours."""

SUFFIXES = (".off", ".obj", ".ply", ".stl", ".glb")
UNSUPPORTED_SUFFIXES = (
    *(".gltf", ".fbx", ".dae", ".3ds", ".3mf", ".amf", ".blend", ".max", ".ma", ".mb", ".c4d", ".lwo", ".x3d"),
    *(".wrl", ".vrml", ".usd", ".usda", ".usdc", ".usdz", ".abc", ".step", ".stp", ".iges", ".igs", ".ctm", ".x"),
)
"""Names of meshes that are not read but must not be passed over."""

Up = Literal["auto", "y", "z"]
_SPLITS = ("train", "test", "val", "valid", "validation")
_Y_UP_SUFFIXES = (".obj", ".glb")
_FRONT_IS_Z = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # y up, z front -> z up, -y front


def require_render_extra() -> None:
    """Raise InputError when trimesh or embreex is not installed."""
    try:
        import embreex  # noqa: F401
        import trimesh  # noqa: F401
    except ImportError as error:
        raise InputError("rendering needs the extra: pip install dimvida[render]") from error


class UnreadableMesh(Unreadable):
    """A mesh file cannot be rendered."""


@dataclass(frozen=True, slots=True)
class MeshFile:
    """One mesh and the place of its object in a data set."""

    path: Path
    split: str
    class_name: str
    name: str


def find_meshes(folder: str | Path, *, split: str = "train") -> list[MeshFile]:
    """Mesh files of ``<class>/<object>.<suffix>`` or ``<class>/<split>/<object>.<suffix>``, sorted.

    Hidden files and folders are passed over. Links are followed; one that leads nowhere, and a mesh of a format
    that is not read, are found all the same, for :func:`load_mesh` to say what they are.

    Args:
        folder: Holds the class folders.
        split: For the first layout, which names none.

    Raises:
        InputError: There is no such folder, or one that cannot be listed, there are no meshes in it, a name is not
            UTF-8, or there are two meshes for one object.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of meshes")
    found: dict[tuple[str, str, str], MeshFile] = {}
    # Those that are read come first, so that an export in another format beside one changes nothing.
    for path in sorted(_files(FolderTree(folder)), key=lambda path: (path.suffix.lower() not in SUFFIXES, path)):
        if path.suffix.lower() not in SUFFIXES + UNSUPPORTED_SUFFIXES:
            continue
        parts = path.relative_to(folder).parts[:-1]
        if len(parts) == 1:
            mesh = MeshFile(path, split, parts[0], path.stem)
        elif len(parts) == 2 and parts[1] in _SPLITS:
            mesh = MeshFile(path, parts[1], parts[0], path.stem)
        else:
            raise InputError(
                f"{path}: expected {folder}/<class>/<object> or {folder}/<class>/<train|test|val>/<object>"
            )
        key = (mesh.split, mesh.class_name, mesh.name)
        if key not in found:
            found[key] = mesh
        elif path.suffix.lower() in SUFFIXES:
            raise InputError(f"{path} and {found[key].path} are the same object {'/'.join(key)}: rename one")
    if not found:
        raise InputError(f"{folder}: no meshes (<class>/*{{{','.join(s[1:] for s in SUFFIXES)}}})")
    return [found[key] for key in sorted(found)]


def _files(tree: FolderTree, folder: str = "") -> Iterator[Path]:
    """Every file below a folder that is not hidden, through links too, and links that lead nowhere."""
    listing = tree.listing(folder)
    for name in (*listing.files, *(name for name, _ in listing.unusable)):
        path = tree.path / name
        if not path.suffix and path.is_symlink() and not path.exists():
            raise InputError(f"{path}: a link that leads nowhere, maybe a class; mend or remove it")
        yield path
    for child in listing.folders:
        yield from _files(tree, child)


def load_mesh(path: str | Path, *, up: Up = "auto") -> trimesh.Trimesh:
    """Load one file; a scene's parts are joined in their places with their colours.

    Args:
        path: off, obj, ply, stl or glb.
        up: The file's axis that points up; "auto" takes y for obj and glb (whose front is +z), else z.

    Returns:
        A mesh with z up; vertex colours where the file has colours. In its ``metadata`` are "notes", what it names
        and lacks as ``<what>: <which>``, and "digests", the SHA-256 of each file that was read by its path.

    Raises:
        UnreadableMesh: The file is not a mesh, or has no faces.
    """
    require_render_extra()
    import trimesh

    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        read = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise UnreadableMesh(str(path), f"{kind[1:]} meshes are not read ({read} are); convert it")
    if path.exists() and not path.is_file():
        raise UnreadableMesh(str(path), "no ordinary file")
    try:
        text = MeshText(path)
    except OSError as error:
        reason = "a link that leads nowhere" if path.is_symlink() and not path.exists() else error.strerror
        raise UnreadableMesh(str(path), f"cannot be read ({reason})") from error
    try:
        scene = trimesh.load_scene(BytesIO(text.data), file_type=kind[1:], resolver=text.resources)
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except Exception as error:  # the format parsers raise whatever the damage makes them
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnreadableMesh(str(path), f"cannot be read as a mesh ({reason})") from error
    if not parts:
        raise UnreadableMesh(str(path), "the mesh has no faces")
    mesh = _joined(parts)
    if up == "y" or (up == "auto" and path.suffix.lower() in _Y_UP_SUFFIXES):
        mesh.vertices = mesh.vertices @ _FRONT_IS_Z.T
    mesh.metadata.update(notes=text.notes, digests=text.digests)
    return mesh


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    """One mesh with a vertex per face corner, so that parts coloured by face, vertex or material mix."""
    import trimesh

    colours = [_mesh_colours(part) for part in parts]
    corners = np.concatenate([part.triangles for part in parts]).reshape(-1, 3)
    faces = np.arange(len(corners)).reshape(-1, 3)
    if all(colour is None for colour in colours):
        return trimesh.Trimesh(corners, faces, process=False)
    filled = [
        np.broadcast_to(np.float32(DEFAULT_COLOUR), part.triangles.shape) if colour is None else colour
        for part, colour in zip(parts, colours, strict=True)
    ]
    rgb = np.round(np.concatenate(filled).reshape(-1, 3) * 255).astype(np.uint8)
    return trimesh.Trimesh(corners, faces, vertex_colors=rgb, process=False)


def _mesh_colours(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """RGB float32 ``[F, 3, 3]`` in [0, 1] of each face's corners, or None for a mesh without colours."""
    visual = mesh.visual
    if visual.kind == "face":
        rgb = np.repeat(visual.face_colors[:, None, :3], 3, axis=1)
    elif visual.kind == "vertex":
        rgb = visual.vertex_colors[mesh.faces][..., :3]
    elif visual.kind == "texture":
        rgb = _texture_colours(mesh)
    else:
        rgb = None
    return None if rgb is None else np.asarray(rgb, dtype=np.float32) / 255


def _texture_colours(mesh: trimesh.Trimesh) -> np.ndarray | None:
    material = mesh.visual.material
    if _is_default(material):
        return None
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if image is not None and mesh.visual.uv is not None:
        return mesh.visual.to_color().vertex_colors[mesh.faces][..., :3]
    return np.broadcast_to(np.asarray(material.main_color)[:3], (len(mesh.faces), 3, 3))


def _is_default(material: Material) -> bool:
    """Whether the file named no colour, so that trimesh put one of its own."""
    from trimesh.visual.material import SimpleMaterial

    if isinstance(material, SimpleMaterial):
        # Texture coordinates without a material get a grey picture of 2 x 2 pixels.
        no_image = material.image is None or material.image.size == (2, 2)
        return no_image and bool((material.main_color == SimpleMaterial().main_color).all())
    return material.baseColorFactor is None and material.baseColorTexture is None


class Surface(NamedTuple):
    """Triangles in a sphere of radius 1 around the origin.

    Attributes:
        triangles: float32 ``[F, 3, 3]``, the corners of each face.
        colours: float32 ``[F, 3, 3]``, RGB in [0, 1] of each corner.
    """

    triangles: np.ndarray
    colours: np.ndarray


def normalised_surface(mesh: trimesh.Trimesh, colour: tuple[float, float, float]) -> Surface:
    """Triangles centred at the origin in a sphere of radius 1, with corner colours.

    Args:
        mesh: A mesh, with or without colours of its own.
        colour: RGB in [0, 1] for a mesh without colours.

    Raises:
        InputError: The mesh has no faces, no area, or coordinates that are not finite.
    """
    if len(mesh.faces) == 0:
        raise InputError("the mesh has no faces")
    triangles = np.asarray(mesh.vertices, dtype=np.float64)[mesh.faces]
    if not np.isfinite(triangles).all():
        raise InputError("the mesh has coordinates that are not finite")
    colours = _mesh_colours(mesh)
    if colours is None:
        colours = np.broadcast_to(np.asarray(colour, dtype=np.float32), triangles.shape)
    points = triangles.reshape(-1, 3)
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    radius = np.linalg.norm(points, axis=1).max()
    triangles = points.reshape(-1, 3, 3) / (radius or 1.0)
    area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
    if not (area > 1e-9).any():
        raise InputError("the mesh has no area")
    return Surface(np.ascontiguousarray(triangles, dtype=np.float32), np.ascontiguousarray(colours, dtype=np.float32))
