"""The masked multi-time diffusion: schedule, masks, loss and solvers."""
