"""Times of the sampler beside those of its alternatives, measured in one run."""
