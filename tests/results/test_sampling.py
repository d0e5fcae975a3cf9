"""Tables of a benchmark on a terminal of 80 columns."""

from __future__ import annotations

from dimvida.bench.arms import ARMS, FLOORS
from dimvida.bench.timing import OTHER, OUTSIDE, WORK_KINDS
from dimvida.cli.terminal import print_table
from dimvida.results.benchmarks import Spread
from dimvida.results.sampling import (
    SHARES,
    ArmTimes,
    BatchTimes,
    Failure,
    FloorTimes,
    Operation,
    Profile,
    batch_tables,
)

SPREAD = Spread(2345.6, 2222.2, 2999.9, 9)


def test_every_share_of_a_profile_has_a_column():
    assert set(SHARES) == {*WORK_KINDS, OTHER, OUTSIDE}


def test_the_widest_table_of_a_gpu_fits(capsys):
    kernel = Operation("void dimvida::kernel<" + "float, " * 30 + ">(int)", "step", 12.3, 250)
    arms = [
        ArmTimes(
            name=arm.name,
            ms_per_step=SPREAD,
            ms_per_trajectory=SPREAD,
            views_per_second=49152.1,
            floor=arm.floor,
            floor_fraction=0.99,
            times_eager_fp32=123.45,
            peak_memory_bytes=2**37,
            rms_from_eager_fp32=1e-3,
            profile=Profile(1.0, dict.fromkeys(SHARES, 1 / 6), (kernel,), 0.1234),
        )
        for arm in ARMS.values()
    ]
    floors = [FloorTimes(name, SPREAD) for name in FLOORS]
    failed = [Failure("compile-fp32", "xxxxxxxxx " * 10)]
    for table in batch_tables(BatchTimes(16384, 1, 49152, 2113.9, floors, arms, failed)):
        print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert "fused-bf16 12.3 %" in " ".join(" ".join(lines).split())
    for name in ARMS:
        assert any(line.strip().startswith(f"{name} ") and line.rstrip().endswith(" 128") for line in lines)
