"""Training: one loop, several objectives, exact resume."""
