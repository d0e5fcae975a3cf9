"""Mesh files: where they lie, what they hold, and the command that renders them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimvida.cli.app import run
from dimvida.data.meshes import UnreadableMesh, find_meshes, load_mesh
from dimvida.data.opening import open_source
from dimvida.errors import InputError

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("embreex")

TRIANGLE = "0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n"


def save(path: Path, mesh: trimesh.Trimesh | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (mesh or trimesh.creation.box(extents=(1, 2, 3))).export(path)
    return path


@pytest.mark.parametrize("header", ["OFF\n3 1 0\n", "OFF3 1 0\n", "OFF 3 1 0\n", "# a comment\nOFF\n3 1 0\n"])
def test_headers_of_off_files(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.off").write_text(header + TRIANGLE)
    mesh = load_mesh(tmp_path / "a.off")
    assert len(mesh.faces) == 1
    np.testing.assert_array_equal(mesh.bounds, [[0, 0, 0], [1, 0, 1]])


@pytest.mark.parametrize("suffix", ["off", "obj", "ply", "stl", "glb"])
def test_formats_and_their_up_axis(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}")
    expected = (1, 3, 2) if suffix in ("obj", "glb") else (1, 2, 3)
    np.testing.assert_allclose(load_mesh(path).extents, expected)
    np.testing.assert_allclose(load_mesh(path, up="z").extents, (1, 2, 3))
    np.testing.assert_allclose(load_mesh(path, up="y").extents, (1, 3, 2))


def test_front_of_a_y_up_file_is_its_z(tmp_path: Path) -> None:
    cone = trimesh.creation.cone(radius=0.3, height=1.0)  # points to +z
    mesh = load_mesh(save(tmp_path / "a.glb", cone))
    tip = mesh.vertices[np.abs(mesh.vertices[:, 1]).argmax()]
    np.testing.assert_allclose(tip, (0, -1, 0), atol=1e-6)


def test_scene_parts_keep_their_places_and_colours(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for k, colour in enumerate([(255, 0, 0, 255), (0, 0, 255, 255)]):
        box = trimesh.creation.box()
        if k == 0:
            box.visual.vertex_colors = colour
        else:
            material = trimesh.visual.material.PBRMaterial(baseColorFactor=colour)
            box.visual = trimesh.visual.TextureVisuals(material=material)
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([4 * k, 0, 0]))
    scene.export(tmp_path / "a.glb")
    mesh = load_mesh(tmp_path / "a.glb")
    assert mesh.bounds[:, 0].tolist() == [-0.5, 4.5]
    left = mesh.vertices[:, 0] < 2
    assert (mesh.visual.vertex_colors[left] == [255, 0, 0, 255]).all()
    assert (mesh.visual.vertex_colors[~left] == [0, 0, 255, 255]).all()


def test_materials_and_textures_of_an_obj(tmp_path: Path) -> None:
    picture = np.full((4, 4, 3), (200, 100, 50), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl textured\nmap_Kd picture.png\n")
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
    faces = {"red": "usemtl red\nf 1 2 3\n", "textured": "usemtl textured\nf 1/1 2/2 3/3\n"}
    for name, colour in [("red", (255, 0, 0)), ("textured", (200, 100, 50))]:
        (tmp_path / "a.obj").write_text("mtllib a.mtl\n" + corners + faces[name])
        assert (load_mesh(tmp_path / "a.obj").visual.vertex_colors[:, :3] == colour).all()


def test_a_mesh_without_a_material_has_no_colours(tmp_path: Path) -> None:
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
    for faces in ("f 1 2 3\n", "f 1/1 2/2 3/3\n", "usemtl absent\nf 1/1 2/2 3/3\n"):
        (tmp_path / "a.obj").write_text(corners + faces)
        assert load_mesh(tmp_path / "a.obj").visual.kind is None
    assert load_mesh(save(tmp_path / "a.glb")).visual.kind is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.off", b""),
        ("a.off", b"not a mesh"),
        ("a.off", b"OFF\n3 1 0\n0 0 0\n"),
        ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n"),
        ("a.off", b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n"),
        ("a.obj", b"v 0 0 0\n"),
        ("a.glb", b"glTF but not really"),
        ("a.ply", b"ply\nformat ascii 1.0\n"),
        ("a.stl", bytes(84)),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableMesh) as caught:
        load_mesh(tmp_path / name)
    assert caught.value.location == str(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_both_layouts_are_found(tmp_path: Path) -> None:
    for name in ("chair/a.off", "chair/test/b.off", "chair/train/c.OFF", "table/a.stl", "table/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = [(m.split, m.class_name, m.name) for m in find_meshes(tmp_path, split="val")]
    assert found == [
        ("test", "chair", "b"),
        ("train", "chair", "c"),
        ("val", "chair", "a"),
        ("val", "table", "a"),
    ]


@pytest.mark.parametrize("names", [(), ("a.off",), ("x/y/z.off",), ("chair/a.off", "chair/a.obj")])
def test_other_layouts_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=str(tmp_path)):
        find_meshes(tmp_path)


def test_command_renders_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "meshes/box/a.off")
    save(tmp_path / "meshes/box/test/b.stl")
    arguments = [
        "--azimuths=0,90,180",
        "--views",
        "x,y,z",
        "--size",
        "48",
        "--workers",
        "1",
        "--split",
        "val",
    ]
    assert run(["data", "render", str(tmp_path / "meshes"), str(tmp_path / "out.zip"), *arguments]) == 0
    source = open_source(tmp_path / "out.zip")
    assert {r.id for r in source.records} == {"val/box/a", "test/box/b"}
    assert set(source.view_names) == {"x", "y", "z"}
    assert source.read_view(0, "y").pixels.shape == (48, 48, 3)


def test_a_seed_colours_each_object_without_colours(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"meshes/box/{name}.off")
    common = ["--views-count", "2", "--workers", "1"]
    run(["data", "render", str(tmp_path / "meshes"), str(tmp_path / "grey.zip"), *common])
    run(
        [
            "data",
            "render",
            str(tmp_path / "meshes"),
            str(tmp_path / "coloured.zip"),
            *common,
            "--color-seed",
            "1",
        ]
    )
    grey, coloured = open_source(tmp_path / "grey.zip"), open_source(tmp_path / "coloured.zip")
    view = grey.view_names[0]
    np.testing.assert_array_equal(grey.read_view(0, view).pixels, grey.read_view(1, view).pixels)
    assert (coloured.read_view(0, view).pixels != coloured.read_view(1, view).pixels).any()


@pytest.mark.parametrize(("options", "code"), [([], 1), (["--skip-bad"], 0)])
def test_bad_meshes_are_skipped_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int
) -> None:
    save(tmp_path / "meshes/box/good.off")
    (tmp_path / "meshes/box/bad.off").write_text("OFF\n3 1 0\n")
    (tmp_path / "meshes/box/flat.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    arguments = [
        "data",
        "render",
        str(tmp_path / "meshes"),
        str(tmp_path / "out"),
        "--workers",
        "2",
        *options,
    ]
    assert run(arguments) == code
    printed = capsys.readouterr()
    assert "bad.off: cannot be read" in printed.err
    assert "flat.off: the mesh has no area" in printed.err
    assert "1 objects" in printed.out and "2 skipped" in printed.out
    assert [r.name for r in open_source(tmp_path / "out").records] == ["good"]


def test_command_refuses_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "meshes/box/a.off")
    meshes, output = str(tmp_path / "meshes"), str(tmp_path / "out")
    for arguments, word in [
        ([str(tmp_path / "none"), output], "none"),
        ([meshes, output, "--up", "x"], "--up"),
        ([meshes, output, "--azimuths", "a"], "--azimuths"),
        ([meshes, output, "--azimuths", "0", "--views-count", "3"], "--views-count"),
        ([meshes, output, "--views", "a,b"], "one name each"),
        ([meshes, meshes], "not an empty folder"),
    ]:
        assert run(["data", "render", *arguments]) == 2
        assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
