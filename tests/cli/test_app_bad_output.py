"""An output that cannot be, or that would be in the way, gets one line and exit code 2 before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


class TestOutput:
    def test_a_file_where_the_folder_should_be(self, refused, fronts: Path, tmp_path: Path):
        (tmp_path / "taken").write_text("mine")
        for output in (tmp_path / "taken", tmp_path / "taken" / "deeper"):
            assert f"{output}: " in (line := refused(fronts, "--view", "front", output=output))
            assert "is a file; choose another --out" in line

    @pytest.mark.parametrize("options", [(), ("--overwrite",)])
    def test_a_folder_with_something_else(self, refused, fronts: Path, tmp_path: Path, options):
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "thesis.txt").write_text("mine")
        line = refused(fronts, "--view", "front", *options, output=tmp_path / "taken")
        assert f"{tmp_path / 'taken'}: not empty" in line

    @pytest.mark.parametrize("place", ["out", "chair", "link/out", "."])
    def test_a_folder_inside_the_input(self, refused, dimvida, fronts: Path, tiny_checkpoint: Path, place: str):
        (fronts.parent / "link").symlink_to(fronts)
        output = fronts / place if place != "link/out" else fronts.parent / place
        assert f"--out {output}: is " in refused(fronts, "--view", "front", output=output)

    def test_an_earlier_output_inside_the_input(self, refused, accepted, fronts: Path, tmp_path: Path):
        accepted(fronts, "--view", "front")
        (tmp_path / "out").rename(fronts / "out")
        assert "is inside the input" in refused(fronts, "--view", "front", output=fronts / "out")

    def test_a_place_where_no_folder_can_be(self, refused, fronts: Path):
        line = refused(fronts, "--view", "front", output=Path("/proc/x"))
        assert "--out /proc/x: no file can be written in /proc" in line

    def test_a_sheet_that_could_not_be_written(self, refused, fronts: Path):
        for sheet in ("/proc/sheet.png", "/proc/deeper/sheet.png"):
            line = refused(fronts, "--view", "front", "--sheet", sheet)
            assert "--sheet" in line and "no file can be written in /proc" in line

    def test_a_folder_without_permission(self, refused, fronts: Path, tmp_path: Path):
        (tmp_path / "locked").mkdir(mode=0o500)
        if os.access(tmp_path / "locked", os.W_OK):
            pytest.skip("this user may write everywhere")
        line = refused(fronts, "--view", "front", output=tmp_path / "locked" / "out")
        assert "no permission to write" in line

    def test_an_unreadable_input_does_not_cost_an_earlier_output(self, refused, accepted, fronts: Path, tmp_path: Path):
        accepted(fronts, "--view", "front")
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "only.png").write_bytes(b"")
        refused(tmp_path / "bad", "--view", "front", "--overwrite")


class TestUnwritableResults:
    """They are met before the work: the data, which are not there, would be met next."""

    @pytest.mark.parametrize(
        "command",
        [
            "evaluate --data gone --json",
            "evaluate --data gone --out",
            "bench sampling --json",
            "bench solvers --data gone --json",
            "bench solvers --data gone --plot",
            "bench training --json",
            "bench generation --data gone --json",
            "report gone --out",
            "train --data gone --out",
            "train --stage classifier --data gone --out",
            "classify --data gone --out",
        ],
    )
    def test_at_once(self, dimvida, command: str):
        result = dimvida(*command.split(), "/proc/results")  # where not even root can make a file
        option = command.split()[-1]
        assert result.code == 2, result
        assert result.errors == [
            f"error: {option} /proc/results: no file can be written in /proc (No such file or directory); "
            f"choose another {option}"
        ]

    def test_reproduce_once_it_knows_its_data(self, dimvida, objects: Path):
        result = dimvida("reproduce", "--data", objects, "--out", "/proc/results")
        assert "--out /proc/results: no file can be written" in result.refusal()
