"""Benchmarks of calib_jax: the paper's results on real outputs, and timings."""
