"""The solvers by name, each a set of rows of the one step formula."""

from __future__ import annotations

from dimvida.diffusion.schedule import VPSchedule, time_grid
from dimvida.diffusion.solvers.ddim import DDIM
from dimvida.diffusion.solvers.dpmpp import DPMPP_2M, SDE_DPMPP_2M
from dimvida.diffusion.solvers.euler_maruyama import EULER_MARUYAMA
from dimvida.diffusion.solvers.repaint import REPAINT
from dimvida.diffusion.step_table import Solver, StepTable
from dimvida.errors import InputError, require_whole

SOLVERS: dict[str, Solver] = {s.name: s for s in (EULER_MARUYAMA, DDIM, DPMPP_2M, SDE_DPMPP_2M, REPAINT)}

STEPS_LIMIT = 10_000
"""Most network evaluations. Kernels read the coefficients in float32, where those of still shorter steps can hardly be
told from 1, and the table grows with them; the paper takes 250."""


def solver_named(name: str) -> Solver:
    """The solver of that public name.

    Raises:
        InputError: If there is none.
    """
    try:
        return SOLVERS[name]
    except (KeyError, TypeError):
        raise InputError(f"unknown solver {name!r}: choose from {', '.join(SOLVERS)}") from None


def step_table(name: str, steps: int, schedule: VPSchedule | None = None, spacing: str | None = None) -> StepTable:
    """The table of a whole trajectory from t = 1 to 0.

    Args:
        name: Solver name.
        steps: Network evaluations, from 1 to ``STEPS_LIMIT``. ``repaint`` divides them among repeated visits of fewer
            intervals.
        schedule: Noise schedule, by default the paper's.
        spacing: ``time`` or ``log-snr``, by default the solver's own.

    Raises:
        InputError: For an unknown solver, or steps that are no whole number in their range.
    """
    solver = solver_named(name)
    steps = require_whole("steps", steps, 1, STEPS_LIMIT)
    schedule = schedule or VPSchedule()
    times = time_grid(schedule, solver.intervals(steps), spacing or solver.spacing)
    return StepTable(tuple(solver.rows(schedule, times, steps)))
