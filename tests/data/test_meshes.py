"""Mesh files: where they lie, and what they hold."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.objects import Maker, save_box
from PIL import Image

from dimvida.data.meshes import UnreadableMesh, find_meshes, load_mesh
from dimvida.errors import InputError

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("embreex")

TRIANGLE = "0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n"


@pytest.mark.parametrize("header", ["OFF\n3 1 0\n", "OFF3 1 0\n", "OFF 3 1 0\n", "# a comment\nOFF\n3 1 0\n"])
def test_headers_of_off_files(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.off").write_text(header + TRIANGLE)
    mesh = load_mesh(tmp_path / "a.off")
    assert len(mesh.faces) == 1
    np.testing.assert_array_equal(mesh.bounds, [[0, 0, 0], [1, 0, 1]])


@pytest.mark.parametrize("suffix", ["off", "obj", "ply", "stl", "glb"])
def test_formats_and_their_up_axis(tmp_path: Path, suffix: str) -> None:
    path = save_box(tmp_path / f"a.{suffix}")
    expected = (1, 3, 2) if suffix in ("obj", "glb") else (1, 2, 3)
    np.testing.assert_allclose(load_mesh(path).extents, expected)
    np.testing.assert_allclose(load_mesh(path, up="z").extents, (1, 2, 3))
    np.testing.assert_allclose(load_mesh(path, up="y").extents, (1, 3, 2))


def test_front_of_a_y_up_file_is_its_z(tmp_path: Path) -> None:
    cone = trimesh.creation.cone(radius=0.3, height=1.0)  # points to +z
    cone.export(tmp_path / "a.glb")
    mesh = load_mesh(tmp_path / "a.glb")
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
    assert load_mesh(save_box(tmp_path / "a.glb")).visual.kind is None


CORNERS = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"


def colour_of(path: Path) -> list[int] | None:
    """The one colour of a mesh, or None without."""
    visual = load_mesh(path).visual
    if visual.kind is None:
        return None
    (colour,) = {tuple(row) for row in visual.vertex_colors[:, :3].tolist()}
    return list(colour)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
class TestEncodings:
    """Meshes and materials in the encodings that programs write them in."""

    def test_obj_and_mtl(self, tmp_path: Path, encoding: str, newline: str) -> None:
        def write(name: str, text: str) -> None:
            (tmp_path / name).write_bytes(text.replace("\n", newline).encode(encoding))

        write("für.mtl", "# für Möbel\nnewmtl röt\nKd 1 0 0\n")
        write("a.obj", f"# für Möbel\nmtllib für.mtl\n{CORNERS}usemtl röt\nf 1/1 2/2 3/3\n")
        assert colour_of(tmp_path / "a.obj") == [255, 0, 0]
        assert load_mesh(tmp_path / "a.obj").metadata["notes"] == []

    def test_off(self, tmp_path: Path, encoding: str, newline: str) -> None:
        text = "OFF\n# für Möbel\n3 1 0\n" + TRIANGLE
        (tmp_path / "a.off").write_bytes(text.replace("\n", newline).encode(encoding))
        assert len(load_mesh(tmp_path / "a.off").faces) == 1


@pytest.mark.parametrize("comment", ["für".encode("latin-1"), "für".encode()])
def test_comments_in_ply_and_names_in_stl(tmp_path: Path, comment: bytes) -> None:
    ply = trimesh.creation.box().export(file_type="ply")
    (tmp_path / "a.ply").write_bytes(ply.replace(b"\n", b"\ncomment " + comment + b"\n", 1))
    assert len(load_mesh(tmp_path / "a.ply").faces) == 12
    facet = b"facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
    (tmp_path / "b.stl").write_bytes(b"solid " + comment + b"\n" + facet + b"endsolid\n")
    assert len(load_mesh(tmp_path / "b.stl").faces) == 1
    binary = trimesh.creation.box().export(file_type="stl")
    (tmp_path / "c.stl").write_bytes(b"solid " + comment.ljust(74) + binary[80:])
    assert len(load_mesh(tmp_path / "c.stl").faces) == 12


class TestMaterials:
    """What an OBJ names is found, or noted."""

    RED = "newmtl red one\nKd 1 0 0\n"
    FACE = "usemtl red one\nf 1/1 2/2 3/3\n"

    @pytest.mark.parametrize(
        ("line", "files"),
        [
            ("mtllib my colours.mtl", ["my colours.mtl"]),
            ("mtllib\tmy.mtl  ", ["my.mtl"]),
            ("mtllib other.mtl my.mtl", ["other.mtl", "my.mtl"]),
            ("mtllib other.mtl\nmtllib my.mtl", ["other.mtl", "my.mtl"]),
            ("# as in mtllib x\nmtllib my.mtl", ["my.mtl"]),
            ("mtllib C:\\models\\my.mtl", ["my.mtl"]),
            ("mtllib parts\\my.mtl", ["parts/my.mtl"]),
            ("  mtllib ./my.mtl", ["my.mtl"]),
        ],
    )
    def test_libraries_that_are_found(self, tmp_path: Path, line: str, files: list[str]) -> None:
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(self.RED if name == files[-1] else "newmtl blue\nKd 0 0 1\n")
        (tmp_path / "a.obj").write_text(f"{line}\n{CORNERS}{self.FACE}")
        assert colour_of(tmp_path / "a.obj") == [255, 0, 0]
        assert load_mesh(tmp_path / "a.obj").metadata["notes"] == []
        digests = load_mesh(tmp_path / "a.obj").metadata["digests"]
        assert {Path(path).name for path in digests} == {"a.obj", *(Path(name).name for name in files)}

    def test_indented_lines_and_tabs(self, tmp_path: Path) -> None:
        (tmp_path / "my.mtl").write_text("\tnewmtl\tred  one\n\t\tKd\t1 0 0\n")
        text = f"mtllib my.mtl\n{CORNERS}usemtl\tred one\n\tf\t1/1 2/2 3/3\n"
        (tmp_path / "a.obj").write_text(text)
        assert colour_of(tmp_path / "a.obj") == [255, 0, 0]

    @pytest.mark.parametrize(
        ("obj", "mtl", "notes"),
        [
            (
                "mtllib gone.mtl\n",
                None,
                ["material library is missing: gone.mtl", "materials are not defined: red one"],
            ),
            ("mtllib my.mtl\n", "newmtl blue\nKd 0 0 1\n", ["materials are not defined: red one"]),
            ("mtllib my.mtl\n", RED + "map_Kd gone.png\n", ["texture is missing: gone.png"]),
        ],
    )
    def test_what_is_missing_is_noted(self, tmp_path: Path, obj: str, mtl: str | None, notes: list[str]) -> None:
        if mtl is not None:
            (tmp_path / "my.mtl").write_text(mtl)
        (tmp_path / "a.obj").write_text(obj + CORNERS + self.FACE)
        assert load_mesh(tmp_path / "a.obj").metadata["notes"] == notes
        assert colour_of(tmp_path / "a.obj") == ([255, 0, 0] if mtl and "red" in mtl else None)

    @pytest.mark.parametrize(
        "line", ["my wood.png", "-s 1 1 1 my wood.png", "-clamp on -bm 0.5 my wood.png", "C:\\x\\my wood.png"]
    )
    def test_textures(self, tmp_path: Path, line: str) -> None:
        Image.new("RGB", (4, 4), (200, 100, 50)).save(tmp_path / "my wood.png")
        (tmp_path / "my.mtl").write_text(f"newmtl red one\nmap_Kd {line}\n")
        (tmp_path / "a.obj").write_text("mtllib my.mtl\n" + CORNERS + self.FACE)
        assert load_mesh(tmp_path / "a.obj").metadata["notes"] == []
        assert colour_of(tmp_path / "a.obj") == [200, 100, 50]

    def test_a_texture_that_cannot_be_read_is_noted(self, tmp_path: Path) -> None:
        (tmp_path / "wood.png").write_bytes(b"no picture")
        (tmp_path / "my.mtl").write_text(self.RED + "map_Kd wood.png\n")
        (tmp_path / "a.obj").write_text("mtllib my.mtl\n" + CORNERS + self.FACE)
        (note,) = load_mesh(tmp_path / "a.obj").metadata["notes"]
        assert note.startswith("texture cannot be read: wood.png")
        assert colour_of(tmp_path / "a.obj") == [255, 0, 0]

    def test_no_package_guesses_encodings(self) -> None:
        # trimesh would, and fails without one that the extra does not bring along.
        code = """
import sys
sys.modules["charset_normalizer"] = sys.modules["chardet"] = None
from pathlib import Path
from dimvida.data.meshes import load_mesh
Path("a.obj").write_bytes(b"# f\\xfcr\\nv 0 0 0\\nv 1 0 0\\nv 0 1 0\\nf 1 2 3\\n")
print(len(load_mesh("a.obj").faces))
"""
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
        assert done.stdout == "1\n", done.stderr


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


def test_both_layouts_are_found(make: Maker, tmp_path: Path) -> None:
    make.folder(
        tmp_path,
        dict.fromkeys(("chair/a.off", "chair/test/b.off", "chair/train/c.OFF", "table/a.stl", "table/notes.txt"), ""),
    )
    found = [(m.split, m.class_name, m.name) for m in find_meshes(tmp_path, split="val")]
    assert found == [
        ("test", "chair", "b"),
        ("train", "chair", "c"),
        ("val", "chair", "a"),
        ("val", "table", "a"),
    ]


def test_hidden_files_are_no_meshes(make: Maker, tmp_path: Path) -> None:
    make.folder(
        tmp_path,
        dict.fromkeys(
            ("chair/a.off", "chair/._a.off", "chair/.ipynb_checkpoints/a-checkpoint.off", "__MACOSX/chair/a.off"), ""
        ),
    )
    assert [str(mesh.path.relative_to(tmp_path)) for mesh in find_meshes(tmp_path)] == ["chair/a.off"]


def test_links_are_followed_and_those_that_lead_nowhere_found(tmp_path: Path) -> None:
    save_box(tmp_path / "elsewhere/b.off")
    save_box(tmp_path / "meshes/chair/a.off")
    (tmp_path / "meshes/sofa").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "meshes/chair/gone.off").symlink_to("/nowhere/gone.off")
    (tmp_path / "meshes/chair/around").symlink_to(tmp_path / "meshes")
    found = find_meshes(tmp_path / "meshes")
    assert [(mesh.class_name, mesh.name) for mesh in found] == [("chair", "a"), ("chair", "gone"), ("sofa", "b")]
    with pytest.raises(UnreadableMesh, match=r"gone\.off: cannot be read \(a link that leads nowhere\)"):
        load_mesh(found[1].path)
    (tmp_path / "meshes/table").symlink_to("/nowhere/table")
    with pytest.raises(InputError, match="table: a link that leads nowhere"):
        find_meshes(tmp_path / "meshes")


def test_meshes_of_other_formats_are_named(make: Maker, tmp_path: Path) -> None:
    names = ("chair/a.off", "chair/a.fbx", "chair/b.gltf", "chair/notes.txt")
    make.folder(tmp_path, dict.fromkeys(names, ""))
    found = [mesh.path.name for mesh in find_meshes(tmp_path)]
    assert found == ["a.off", "b.gltf"]  # a.fbx is the same object, which is there
    with pytest.raises(UnreadableMesh, match=r"b\.gltf: gltf meshes are not read"):
        load_mesh(tmp_path / "chair/b.gltf")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.off")
    with pytest.raises(UnreadableMesh, match="no ordinary file"):
        load_mesh(tmp_path / "a.off")


@pytest.mark.parametrize("names", [(), ("a.off",), ("x/y/z.off",), ("chair/a.off", "chair/a.obj")])
def test_other_layouts_are_refused(make: Maker, tmp_path: Path, names: tuple[str, ...]) -> None:
    make.folder(tmp_path, dict.fromkeys(names, ""))
    with pytest.raises(InputError, match=str(tmp_path)):
        find_meshes(tmp_path)
