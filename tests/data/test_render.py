"""The renderer on objects whose picture is known."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import dimvida.data.render as render_module
from dimvida.data.cameras import Camera
from dimvida.data.render import Light, Renderer, RenderSettings
from dimvida.errors import InputError

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("embreex")

RED, GREEN, BLUE, YELLOW, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30), (128, 128, 128)
FLAT = Light(ambient=1.0, sky=0.0, diffuse=0.0, occlusion=0.0)  # surfaces show their own colour


def coloured_box(centre, extents, colour) -> trimesh.Trimesh:
    box = trimesh.creation.box(extents=extents)
    box.apply_translation(centre)
    box.visual.face_colors = [*colour, 255]
    return box


def compass_cube() -> trimesh.Trimesh:
    """Red in front (-y), green on the viewer's right (+x), blue behind, yellow on the left, else grey."""
    cube = trimesh.creation.box()
    colours = np.zeros((12, 4), dtype=np.uint8)
    for axis, sign, colour in [
        (1, -1, RED),
        (0, 1, GREEN),
        (1, 1, BLUE),
        (0, -1, YELLOW),
        (2, 1, GREY),
        (2, -1, GREY),
    ]:
        colours[np.isclose(cube.face_normals[:, axis], sign)] = [*colour, 255]
    cube.visual.face_colors = colours
    return cube


def columns_of(image: np.ndarray, colour) -> np.ndarray:
    return np.flatnonzero((image == np.array(colour)).all(axis=2).any(axis=0))


@pytest.mark.parametrize("distance", [2.732, 4.0])
def test_sphere_silhouette_has_its_analytic_area(distance: float) -> None:
    settings = RenderSettings(azimuths=(0.0, 77.0), distance=distance, half_angle=25.0, image_size=128, samples=4)
    images = Renderer(settings).render(trimesh.creation.icosphere(subdivisions=5), colour=(0.0, 0.0, 0.0))
    # A sphere of radius 1 is seen under the half angle asin(1 / distance).
    radius = 64 * np.tan(np.arcsin(1 / distance)) / np.tan(np.radians(25.0))
    covered = (255.0 - images[..., 0]).sum(axis=(1, 2)) / 255
    np.testing.assert_allclose(covered, np.pi * radius**2, rtol=3e-3)


def test_each_view_sees_its_side_of_the_object() -> None:
    settings = RenderSettings(elevation=0.0, light=FLAT)
    assert settings.view_names == ("front", "right", "back", "left")
    images = Renderer(settings).render(compass_cube())
    assert [tuple(image[32, 32]) for image in images] == [RED, GREEN, BLUE, YELLOW]


def test_images_are_not_mirrored() -> None:
    parts = [
        coloured_box((0, 0, 0), (0.6, 0.6, 0.2), GREY),
        coloured_box((0.5, -0.5, 0.1), (0.2, 0.2, 0.2), RED),  # in front, on the viewer's right
        coloured_box((-0.5, 0.5, 0.1), (0.2, 0.2, 0.2), BLUE),  # behind, on the viewer's left
    ]
    images = Renderer(RenderSettings(elevation=60.0, light=FLAT)).render(trimesh.util.concatenate(parts))
    red_is_right = [columns_of(image, RED).mean() > 32 for image in images]
    blue_is_right = [columns_of(image, BLUE).mean() > 32 for image in images]
    assert red_is_right == [True, False, False, True]
    assert blue_is_right == [False, True, True, False]


def test_the_camera_looks_down_and_up_is_up() -> None:
    parts = [
        coloured_box((0, 0, 0.5), (0.1, 0.1, 1.0), RED),
        coloured_box((0, 0, -0.5), (0.1, 0.1, 1.0), BLUE),
        coloured_box((0, 0, 0), (1.0, 1.0, 0.02), GREY),
    ]
    image = Renderer(RenderSettings(azimuths=(0.0,), light=FLAT)).render(trimesh.util.concatenate(parts))[0]
    rows = [np.flatnonzero((image == np.array(c)).all(axis=2).any(axis=1)) for c in (RED, BLUE)]
    assert rows[0].max() < rows[1].min()
    plate = (image == np.array(GREY)).all(axis=2)
    assert plate.sum() > 150  # seen from above, not edge-on


def test_background_is_white_and_edges_are_antialiased() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3)
    smooth = Renderer(RenderSettings(azimuths=(0.0,), samples=4)).render(mesh, colour=(0.0, 0.0, 0.0))
    hard = Renderer(RenderSettings(azimuths=(0.0,), samples=1)).render(mesh, colour=(0.0, 0.0, 0.0))
    assert (smooth[0, :8, :8] == 255).all() and (smooth[0, -8:, -8:] == 255).all()
    assert set(np.unique(hard)) == {0, 255}
    assert len(np.unique(smooth)) > 8


def test_unlit_sides_are_dark_but_not_black() -> None:
    cube = trimesh.creation.box()
    lit = RenderSettings(azimuths=(0.0,), elevation=0.0, light=Light(direction=(0.0, 0.0, 1.0)))
    unlit = RenderSettings(azimuths=(0.0,), elevation=0.0, light=Light(direction=(0.0, 0.0, -1.0)))
    bright, dark = (int(Renderer(s).render(cube, colour=(0.8, 0.8, 0.8))[0, 32, 32, 0]) for s in (lit, unlit))
    assert 60 < dark < bright - 40


def test_winding_of_faces_does_not_matter() -> None:
    mesh = compass_cube()
    flipped = mesh.copy()
    flipped.faces = flipped.faces[:, ::-1]
    renderer = Renderer(RenderSettings())
    np.testing.assert_array_equal(renderer.render(mesh), renderer.render(flipped))


def test_size_and_place_of_the_mesh_do_not_matter() -> None:
    mesh = compass_cube()
    moved = mesh.copy()
    moved.apply_scale(512.0)
    moved.apply_translation((64.0, -128.0, 32.0))
    renderer = Renderer(RenderSettings())
    np.testing.assert_array_equal(renderer.render(mesh), renderer.render(moved))


def test_corners_are_darker_with_occlusion() -> None:
    corner = trimesh.util.concatenate(
        [coloured_box((0, 0, 0), (2, 2, 0.1), GREY), coloured_box((0, 0.5, 0.5), (2, 0.1, 1.0), GREY)]
    )
    images = [
        Renderer(RenderSettings(azimuths=(0.0,), light=Light(occlusion=o))).render(corner)[0].astype(int)
        for o in (0.0, 1.0)
    ]
    difference = (images[0] - images[1])[..., 0]
    assert difference.min() >= 0
    assert difference.max() > 30


def test_vertex_colours_are_interpolated() -> None:
    triangle = trimesh.Trimesh([[-1, 0, -1], [1, 0, -1], [0, 0, 1]], [[0, 1, 2]], process=False)
    triangle.visual.vertex_colors = [[240, 0, 0, 255], [0, 240, 0, 255], [0, 0, 240, 255]]
    image = Renderer(RenderSettings(azimuths=(0.0,), elevation=0.0, light=FLAT)).render(triangle)[0].astype(int)
    inside = image[(image < 255).all(axis=2) & (abs(image.sum(axis=2) - 240) <= 2)]
    assert len(inside) > 300
    assert (inside.max(axis=0) > 180).all()


def test_material_colour_and_default_colour() -> None:
    settings = RenderSettings(azimuths=(0.0,), elevation=0.0, light=FLAT)
    painted = trimesh.creation.box()
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[10, 120, 200, 255])
    painted.visual = trimesh.visual.TextureVisuals(material=material)
    assert tuple(Renderer(settings).render(painted)[0, 32, 32]) == (10, 120, 200)
    plain = Renderer(settings).render(trimesh.creation.box(), colour=(0.2, 0.4, 0.6))
    assert tuple(plain[0, 32, 32]) == (51, 102, 153)


def test_rays_cast_in_parts_give_the_same_image(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = compass_cube()
    whole = Renderer(RenderSettings()).render(mesh)
    monkeypatch.setattr(render_module, "_RAYS_AT_ONCE", 1000)
    np.testing.assert_array_equal(Renderer(RenderSettings()).render(mesh), whole)


def test_view_names_follow_the_number_of_azimuths() -> None:
    assert RenderSettings(azimuths=(0, 1)).view_names == ("view00", "view01")
    assert RenderSettings(azimuths=(0, 1), names=("a", "b")).view_names == ("a", "b")


def test_cameras_of_the_views_have_their_names() -> None:
    settings = RenderSettings(azimuths=(-0.0, 400), names=("a", "b"), elevation=-10)
    assert settings.cameras == {"a": Camera(0, -10), "b": Camera(400, -10)}
    assert str(settings.cameras["a"].azimuth) == "0.0"
    images = Renderer(RenderSettings(azimuths=(0, 1, 2), image_size=20)).render(compass_cube())
    assert images.shape == (3, 20, 20, 3)
    assert images.dtype == np.uint8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"azimuths": ()}, "at least one azimuth"),
        ({"names": ("a",)}, "one name each"),
        ({"names": ("a", "a", "b", "c")}, "must differ"),
        ({"elevation": 91.0}, "elevation"),
        ({"elevation": math.nan}, "elevation"),
        ({"azimuths": (0.0, math.inf)}, "azimuth inf is not a finite number"),
        ({"distance": 1.0}, "distance"),
        ({"half_angle": 90.0}, "half angle"),
        ({"image_size": 0}, "image size"),
        ({"samples": 17}, "samples"),
        ({"light": Light(direction=(0.0, 0.0, 0.0))}, "light"),
    ],
)
def test_unusable_settings_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RenderSettings(**options)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3), dtype=int), "no faces"),
        ([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], "no area"),
        ([[1, 1, 1]] * 3, [[0, 1, 2]], "no area"),
        ([[0, 0, 0], [1, 0, np.nan], [0, 1, 0]], [[0, 1, 2]], "not finite"),
    ],
)
def test_meshes_that_show_nothing_are_refused(vertices, faces, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Renderer().render(trimesh.Trimesh(vertices, faces, process=False))


def test_without_the_extra_data_imports_and_rendering_says_what_to_install() -> None:
    code = """
import sys
sys.modules["trimesh"] = sys.modules["embreex"] = None
import dimvida.data.meshes, dimvida.data.render_jobs, dimvida.data.shapes
from dimvida.data.render import Renderer
from dimvida.errors import InputError
try:
    Renderer()
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "rendering needs the extra: pip install dimvida[render]"
