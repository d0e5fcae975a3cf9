"""Views of a mesh by ray casting on the CPU; no display and no graphics driver needed.

World axes: z up; the camera at azimuth 0 stands at -y and sees the front. A negative azimuth moves it
to the viewer's right, as in the NMR data, where view i has azimuth -15 i: at -90 it stands at +x.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dimvida.data.cameras import Camera
from dimvida.data.meshes import DEFAULT_COLOUR, Surface, normalised_surface, require_render_extra
from dimvida.data.names import CANONICAL_VIEWS, check_view_name
from dimvida.errors import InputError

if TYPE_CHECKING:
    import trimesh
    from embreex.rtcore_scene import EmbreeScene

_RAYS_AT_ONCE = 1 << 18
_OCCLUSION_REACH = 0.5
_OCCLUSION_RAYS = 2


@dataclass(frozen=True, slots=True)
class Light:
    """One directional light that travels with the camera, so that every view is lit alike, and ambient light.

    Attributes:
        direction: Towards the light, in the camera's axes (right, up, towards the camera).
        ambient: Brightness of a surface that faces away from the light; below it nothing falls but corners.
        sky: Added for surfaces that face up, half of it for vertical ones.
        diffuse: Added for a surface that faces the light.
        occlusion: How much hidden corners darken, from 0 (not at all, and fastest) to 1.
    """

    direction: tuple[float, float, float] = (-0.4, 0.5, 0.8)
    ambient: float = 0.44
    sky: float = 0.22
    diffuse: float = 0.42
    occlusion: float = 0.4


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """Cameras, image and light.

    Attributes:
        azimuths: One camera each, in degrees.
        elevation: Elevation of all cameras, in degrees.
        distance: From the camera to the object's centre; the object fits a sphere of radius 1.
        half_angle: Half the field of view, in degrees. The default just holds that sphere at that distance.
        image_size: Width and height in pixels.
        samples: Antialiasing by samples x samples rays a pixel.
        light: Direction and strengths of the light, see ``Light``.
        names: One per azimuth; if empty, front, right, back, left for four views and else view00, view01, ...
    """

    azimuths: tuple[float, ...] = (0.0, -90.0, -180.0, -270.0)
    elevation: float = 30.0
    distance: float = 2.732
    half_angle: float = 22.0
    image_size: int = 64
    samples: int = 3
    light: Light = field(default_factory=Light)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.azimuths:
            raise InputError("rendering needs at least one azimuth")
        if self.names and len(self.names) != len(self.azimuths):
            raise InputError(f"{len(self.azimuths)} azimuths but {len(self.names)} view names: give one name each")
        for name in self.names:
            check_view_name(name, "names of the views")
        if len(set(self.view_names)) != len(self.azimuths):
            raise InputError(f"view names must differ: {', '.join(self.view_names)}")
        for azimuth in self.azimuths:
            Camera(azimuth, self.elevation)  # raises for what is no angle
        if self.distance <= 1.0:
            raise InputError(f"distance {self.distance:g} puts the camera inside the object: give more than 1")
        if not 0.0 < self.half_angle < 90.0:
            raise InputError(f"field of view: half angle {self.half_angle:g} is not between 0 and 90 degrees")
        if self.image_size < 1 or not 1 <= self.samples <= 16:
            raise InputError("image size must be at least 1 and samples between 1 and 16")
        if not any(self.light.direction):
            raise InputError("the light's direction must not be 0,0,0")

    @property
    def view_names(self) -> tuple[str, ...]:
        """One name per azimuth."""
        if self.names:
            return self.names
        count = len(self.azimuths)
        return CANONICAL_VIEWS if count == 4 else tuple(f"view{k:02d}" for k in range(count))

    @property
    def cameras(self) -> dict[str, Camera]:
        """The camera of each view, by its name."""
        placed = (Camera(azimuth + 0.0, self.elevation) for azimuth in self.azimuths)  # no negative zero
        return dict(zip(self.view_names, placed, strict=True))


class _Viewpoint(NamedTuple):
    eye: np.ndarray  # [3]
    axes: np.ndarray  # [3, 3], rows right, up, towards the camera


class Renderer:
    """Renders meshes with fixed settings.

    Raises:
        InputError: The packages for rendering are not installed.
    """

    def __init__(self, settings: RenderSettings | None = None) -> None:
        self.settings = settings or RenderSettings()
        require_render_extra()
        light = np.asarray(self.settings.light.direction, dtype=np.float64)
        self._light = light / np.linalg.norm(light)
        steps = (np.arange(self.settings.samples) + 0.5) / self.settings.samples
        self._subpixels = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)  # [S, 2]
        self._occlusion = _sphere_points(len(self._subpixels) * _OCCLUSION_RAYS)
        self._cameras = [_viewpoint(a, self.settings.elevation, self.settings.distance) for a in self.settings.azimuths]

    def render(self, mesh: trimesh.Trimesh, colour: tuple[float, float, float] = DEFAULT_COLOUR) -> np.ndarray:
        """Render all views on a white background.

        Args:
            mesh: Its own face, vertex or material colours are used where it has some.
            colour: RGB in [0, 1] for a mesh without colours.

        Returns:
            The views, uint8 ``[V, H, W, 3]``, RGB.

        Raises:
            InputError: The mesh has no area, or coordinates that are not finite.
        """
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        surface = normalised_surface(mesh, colour)
        scene = EmbreeScene()
        TriangleMesh(scene, surface.triangles)
        return np.stack([self._view(scene, surface, camera) for camera in self._cameras])

    def _view(self, scene: EmbreeScene, surface: Surface, camera: _Viewpoint) -> np.ndarray:
        size = self.settings.image_size
        image = np.full((size * size, 3), 255, dtype=np.uint8)
        pixels = self._covered_pixels(surface, camera)
        step = max(1, _RAYS_AT_ONCE // len(self._subpixels))
        for first in range(0, len(pixels), step):
            chunk = pixels[first : first + step]
            image[chunk] = self._pixel_colours(scene, surface, camera, chunk)
        return image.reshape(size, size, 3)

    def _covered_pixels(self, surface: Surface, camera: _Viewpoint) -> np.ndarray:
        """Flat indices of the pixels inside the object's bounds in the image; the rest is background."""
        size = self.settings.image_size
        points = (surface.triangles.reshape(-1, 3) - camera.eye) @ camera.axes.T
        scale = np.tan(np.radians(self.settings.half_angle))
        plane = points[:, :2] / (-points[:, 2:] * scale)  # [-1, 1] inside the image, y up
        low, high = plane.min(axis=0), plane.max(axis=0)
        columns = np.clip([np.floor((low[0] + 1) / 2 * size) - 1, np.ceil((high[0] + 1) / 2 * size) + 1], 0, size)
        rows = np.clip([np.floor((1 - high[1]) / 2 * size) - 1, np.ceil((1 - low[1]) / 2 * size) + 1], 0, size)
        across = np.arange(*columns.astype(int))
        return (np.arange(*rows.astype(int))[:, None] * size + across[None, :]).reshape(-1)

    def _pixel_colours(
        self, scene: EmbreeScene, surface: Surface, camera: _Viewpoint, pixels: np.ndarray
    ) -> np.ndarray:
        size, samples = self.settings.image_size, len(self._subpixels)
        scale = np.tan(np.radians(self.settings.half_angle))
        corner = np.stack([pixels % size, pixels // size], axis=1)  # [P, 2] column, row
        plane = ((corner[:, None] + self._subpixels) / size * 2 - 1).reshape(-1, 2) * scale
        directions = plane[:, :1] * camera.axes[0] - plane[:, 1:] * camera.axes[1] - camera.axes[2]
        directions = directions.astype(np.float32)
        origins = np.broadcast_to(camera.eye.astype(np.float32), directions.shape)
        hits = scene.run(np.ascontiguousarray(origins), directions, output=1)
        rays = np.flatnonzero(hits["primID"] >= 0)
        colours = np.ones((len(directions), 3), dtype=np.float32)
        if len(rays):
            colours[rays] = self._shaded(scene, surface, camera, hits, rays, directions)
        mean = colours.reshape(len(pixels), samples, 3).mean(axis=1)
        return np.round(mean * 255).astype(np.uint8)

    def _shaded(
        self,
        scene: EmbreeScene,
        surface: Surface,
        camera: _Viewpoint,
        hits: dict[str, np.ndarray],
        rays: np.ndarray,
        directions: np.ndarray,
    ) -> np.ndarray:
        light = self.settings.light
        prim, u, v = hits["primID"][rays], hits["u"][rays, None], hits["v"][rays, None]
        corners = surface.colours[prim]
        base = (1 - u - v) * corners[:, 0] + u * corners[:, 1] + v * corners[:, 2]
        normals = hits["Ng"][rays]
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
        # Real meshes wind their faces either way: every surface shows its lit side to the camera.
        facing = np.einsum("ij,ij->i", normals, directions[rays]) > 0
        normals[facing] *= -1
        towards_light = (self._light @ camera.axes).astype(np.float32)
        brightness = light.ambient + light.sky * (0.5 + 0.5 * normals[:, 2])
        brightness = brightness + light.diffuse * np.maximum(normals @ towards_light, 0.0)
        if light.occlusion:
            points = camera.eye.astype(np.float32) + hits["tfar"][rays, None] * directions[rays]
            hidden = self._hidden_fraction(scene, points, normals, rays % len(self._subpixels))
            brightness = brightness * (1 - light.occlusion * hidden)
        return np.clip(base * brightness[:, None], 0.0, 1.0)

    def _hidden_fraction(
        self, scene: EmbreeScene, points: np.ndarray, normals: np.ndarray, subpixel: np.ndarray
    ) -> np.ndarray:
        # Each subpixel looks in directions of its own, the same in every pixel: the pixel's mean sees them
        # all, so the result is smooth without the noise of random directions.
        hidden = np.zeros(len(points), dtype=np.float32)
        origins = points + 2e-3 * normals
        reach = np.full(len(points), _OCCLUSION_REACH, dtype=np.float32)
        for k in range(_OCCLUSION_RAYS):
            # A normal plus a uniform point of the unit sphere is distributed by the cosine law.
            outward = normals * 1.001 + self._occlusion[subpixel * _OCCLUSION_RAYS + k]
            outward /= np.linalg.norm(outward, axis=1, keepdims=True)
            hidden += scene.run(origins, outward, dists=reach.copy(), query="OCCLUDED") >= 0
        return hidden / _OCCLUSION_RAYS


def _viewpoint(azimuth: float, elevation: float, distance: float) -> _Viewpoint:
    a, e = np.radians(azimuth), np.radians(elevation)
    towards = np.array([-np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    right = np.array([np.cos(a), -np.sin(a), 0.0])
    return _Viewpoint(distance * towards, np.stack([right, np.cross(towards, right), towards]))


def _sphere_points(count: int) -> np.ndarray:
    """``count`` evenly spread unit vectors, float32 [count, 3] (a Fibonacci lattice), in a mixed order."""
    k = np.arange(count)
    z = 1 - (2 * k + 1) / count
    angle = k * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z * z)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1).astype(np.float32)
    return points[np.argsort((k * 7) % count if count % 7 else k, kind="stable")]
