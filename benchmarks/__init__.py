"""What calib_jax reaches: the paper's results on real outputs, and times."""
