"""Where data are, and that outputs lie elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimvida.data.sample import require_apart
from dimvida.errors import InputError


@pytest.fixture
def data(make, tmp_path: Path) -> Path:
    return make.folder(tmp_path / "data", {f"chair/{letter}/front.png": make.png() for letter in "ab"})


class TestApart:
    @pytest.mark.parametrize("output", ["data/out", "data/chair", "data/chair/a/deeper", "data", "."])
    def test_inside_around_and_the_same(self, data: Path, tmp_path: Path, output: str):
        with pytest.raises(InputError, match=r"--out .*: is .* the input .*; choose a place beside it"):
            require_apart(data, tmp_path / output)

    @pytest.mark.parametrize("output", ["out", "data-2", "other/deeper"])
    def test_beside(self, data: Path, tmp_path: Path, output: str):
        require_apart(data, tmp_path / output)
        require_apart(tmp_path / "data.zip", tmp_path)

    def test_through_links(self, data: Path, tmp_path: Path):
        (tmp_path / "link").symlink_to(data)
        for source, output in ((data, tmp_path / "link" / "out"), (tmp_path / "link", data / "out")):
            with pytest.raises(InputError, match="is inside the input"):
                require_apart(source, output)

    @pytest.mark.parametrize("place", ["sofa", "chair/linked"])
    def test_links_in_the_input(self, data: Path, tmp_path: Path, place: str):
        (tmp_path / "elsewhere").mkdir()
        (data / place).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InputError, match=f"is inside the input {data / place}"):
            require_apart(data, tmp_path / "elsewhere" / "out")
        require_apart(data, tmp_path / "out")

    def test_relative_names(self, data: Path, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(data)
        for output in ("out", "chair/../out", "."):
            with pytest.raises(InputError, match=f"--out {output.replace('.', '[.]')}: is"):
                require_apart(Path("."), Path(output))
        require_apart(Path("."), Path("../out"))

    def test_an_output_that_may_be_around(self, data: Path, tmp_path: Path):
        require_apart(data, tmp_path, around=True)
        for output in ("data", "data/out"):
            with pytest.raises(InputError, match=r"--sheet .*: is (inside|the same as) the input"):
                require_apart(data, tmp_path / output, "--sheet", around=True)
