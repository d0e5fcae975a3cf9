"""Finds mesh files in a class folder layout and loads them as one mesh in the renderer's axes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from dimvida.data.render import require_render_extra
from dimvida.data.surface import DEFAULT_COLOUR, mesh_colours
from dimvida.errors import InputError

if TYPE_CHECKING:
    import trimesh

SUFFIXES = (".off", ".obj", ".ply", ".stl", ".glb")
Up = Literal["auto", "y", "z"]
_SPLITS = ("train", "test", "val", "valid", "validation")
_Y_UP_SUFFIXES = (".obj", ".glb")
_FRONT_IS_Z = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # y up, z front -> z up, -y front


class UnreadableMesh(InputError):
    """One mesh file cannot be rendered; the rest of a folder may still be.

    Attributes:
        location: The file.
        reason: What is wrong with it.
    """

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: {reason}")
        self.location = location
        self.reason = reason


@dataclass(frozen=True, slots=True)
class MeshFile:
    """One mesh and the place of its object in a data set."""

    path: Path
    split: str
    class_name: str
    name: str


def find_meshes(folder: str | Path, *, split: str = "train") -> list[MeshFile]:
    """Mesh files of ``<class>/<object>.<suffix>`` or ``<class>/<split>/<object>.<suffix>``, sorted.

    Args:
        folder: Holds the class folders.
        split: For the first layout, which names none.

    Raises:
        InputError: no such folder, no meshes in it, or two meshes for one object.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of meshes")
    found: dict[tuple[str, str, str], MeshFile] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
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
        if key in found:
            raise InputError(f"{path} and {found[key].path} are the same object {'/'.join(key)}: rename one")
        found[key] = mesh
    if not found:
        raise InputError(f"{folder}: no meshes (<class>/*{{{','.join(s[1:] for s in SUFFIXES)}}})")
    return [found[key] for key in sorted(found)]


def load_mesh(path: str | Path, *, up: Up = "auto") -> trimesh.Trimesh:
    """Load one file; a scene's parts are joined in their places with their colours.

    Args:
        path: off, obj, ply, stl or glb.
        up: The file's axis that points up; "auto" takes y for obj and glb (whose front is +z), else z.

    Returns:
        A mesh with z up; vertex colours where the file has colours.

    Raises:
        UnreadableMesh: when the file is not a mesh, or has no faces.
    """
    require_render_extra()
    import trimesh

    path = Path(path)
    try:
        scene = trimesh.load_scene(path)
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except Exception as error:  # the format parsers raise whatever the damage makes them
        raise UnreadableMesh(str(path), f"cannot be read as a mesh ({type(error).__name__}: {error})") from error
    if not parts:
        raise UnreadableMesh(str(path), "the mesh has no faces")
    mesh = _joined(parts)
    if up == "y" or (up == "auto" and path.suffix.lower() in _Y_UP_SUFFIXES):
        mesh.vertices = mesh.vertices @ _FRONT_IS_Z.T
    return mesh


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    """One mesh with a vertex per face corner, so that parts coloured by face, vertex or material mix."""
    import trimesh

    colours = [mesh_colours(part) for part in parts]
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
