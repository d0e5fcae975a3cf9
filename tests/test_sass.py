"""scripts/sass.py: what it reads from nvdisasm, which way through a kernel it counts; the counts of the kernels, and
scripts/kernel_times.py, which times them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"

# As nvdisasm 13.0 writes it, shortened: a loop, a quotient that calls for small numbers, and two ways to the end.
TEXT = """\
.text._ZN7dimvida4cuda4firstEPf:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @P0  EXIT ;
.L_x_0:
        /*0020*/                   LDG.E.128 R4, desc[UR6][R2.64] ;
        /*0030*/              @P1  BRA `(.L_x_0) ;
        /*0040*/                   FCHK P0, R27, R31 ;
        /*0050*/             @!P0  BRA `(.L_x_1) ;
        /*0060*/                   MOV R2, 0xc90 ;
        /*0070*/                   MOV R3, 0xc90 ;
        /*0080*/                   CALL.REL.NOINC `($_slow) ;
.L_x_1:
        /*0090*/                   BRA P2, `(.L_x_2) ;
        /*00a0*/                   FMNMX R1, R1, 88, PT ;
        /*00b0*/                   FADD R1, R1, 1 ;
        /*00c0*/                   BRA `(.L_x_3) ;
.L_x_2:
        /*00d0*/                   FADD R1, R1, 2 ;
.L_x_3:
        /*00e0*/                   STG.E.64 desc[UR6][R2.64], R4 ;
        /*00f0*/                   STG.E.U16 desc[UR6][R2.64], R4 ;
        /*0100*/                   EXIT ;
.L_x_4:
        /*0110*/                   BRA `(.L_x_4);
\t.section\t.nv.info
        /*0000*/                   NOTHING ;
.text._ZN7dimvida4cuda6secondEv:
        /*0000*/                   EXIT ;
"""


def module(name: str):
    """A script, imported as others in its folder import it."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def sass(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return module("sass")


def test_kernels_and_their_labels(sass):
    first, second = sass.kernels(TEXT).values()
    assert len(first.instructions) == 18 and second.instructions == ["EXIT"]
    assert first.instructions[3] == "@P1  BRA `(.L_x_0)"
    assert first.labels == {".L_x_0": 2, ".L_x_1": 9, ".L_x_2": 13, ".L_x_3": 14, ".L_x_4": 17}


def test_the_longest_way_without_calls_and_turns_of_loops(sass):
    code = sass.kernels(TEXT)["_ZN7dimvida4cuda4firstEPf"]
    way = sass.longest_way(code)
    assert way.instructions == 13
    assert way.loads == Counter({16: 1}) and way.stores == Counter({8: 1, 2: 1})
    assert sass.longest_way(code, r", -?88\b").instructions == 11


def test_a_loop_that_goes_on_whatever_holds_is_gone_through_once(sass):
    lines = ["MOV R1, R2", "@P0 EXIT", "LDG.E R4, desc[UR6][R2.64]", "BRA `(.L_x_0)"]
    way = sass.longest_way(sass.Code(lines, {".L_x_0": 1}))
    assert way.instructions == 4 and way.loads == Counter({4: 1})


def test_a_kernel_that_no_way_leads_through(sass):
    code = sass.kernels(TEXT)["_ZN7dimvida4cuda4firstEPf"]
    with pytest.raises(ValueError, match="no way"):
        sass.longest_way(code, "LDC")


@pytest.mark.slow
def test_the_kernels_take_no_more_instructions_than_the_page_says(sass, monkeypatch):
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc here")
    try:
        sass.nvdisasm()
    except SystemExit as missing:
        pytest.skip(str(missing))
    model = module("performance_model")
    text = model.report()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    counts = {row[0].removeprefix("| "): float(row[-6]) for row in rows if "instructions" not in row[-6]}
    limits = {"group_norm_silu": 50, "masked_step, noise": 110, "masked_step, neither": 60, "pack_images": 20}
    for start, most in limits.items():
        found = [count for title, count in counts.items() if title.startswith(start)]
        assert found and max(found) <= most, start
    assert int(text.split(" % of the floor**")[0].split()[-1]) >= 68


def test_every_line_of_the_page_is_timed(sass, capsys):
    """Here at tiny sizes, and on the CPU, of which the page says nothing."""
    model, times = module("performance_model"), module("kernel_times")
    config = model.load_preset("paper")
    with torch.device("meta"):
        network = config.score.build(model.VIEWS, config.autoencoder.latent_shape).eval().requires_grad_(False)
    lines = times.measure(times.Shapes(2, network.width, 64, 16), network, torch.device("cpu"))
    page = model.PAGE.read_text().partition(model.BEGIN)[2]
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ") and line[-3].isdigit()]
    assert len(rows) == 11 and all(line.found_us > 0 for line in lines)
    assert [(line.kernel, line.expected_us) for line in lines[1:]] == [(row[0], float(row[-1])) for row in rows]
    assert lines[0].expected_us == float(re.search(r" (\d+) us at ", page)[1])
    launches = {line.kernel: line.launches for line in lines}
    assert [launches[row[0]] for row in rows[:5]] == [int(row[1]) for row in rows[:5]]
    assert capsys.readouterr().out.count("\n| ") == len(lines)
