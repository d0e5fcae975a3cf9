"""What the renderer needs of a mesh: normalised triangles and the colours of their corners."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dimvida.errors import InputError

if TYPE_CHECKING:
    import trimesh
    from trimesh.visual.material import Material

DEFAULT_COLOUR = (0.62, 0.64, 0.67)


class Surface(NamedTuple):
    """Triangles in a sphere of radius 1 around the origin.

    Attributes:
        triangles: float32 [F, 3, 3].
        colours: float32 [F, 3, 3], RGB in [0, 1] of each corner.
    """

    triangles: np.ndarray
    colours: np.ndarray


def mesh_colours(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """RGB float32 [F, 3, 3] in [0, 1] of each face's corners, or None for a mesh without colours."""
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


def normalised_surface(mesh: trimesh.Trimesh, colour: tuple[float, float, float]) -> Surface:
    """Triangles centred at the origin in a sphere of radius 1, with corner colours.

    Args:
        mesh: Coloured or not.
        colour: RGB in [0, 1] for a mesh without colours.

    Raises:
        InputError: when the mesh has no faces, no area or coordinates that are not finite.
    """
    if len(mesh.faces) == 0:
        raise InputError("the mesh has no faces")
    triangles = np.asarray(mesh.vertices, dtype=np.float64)[mesh.faces]
    if not np.isfinite(triangles).all():
        raise InputError("the mesh has coordinates that are not finite")
    colours = mesh_colours(mesh)
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
