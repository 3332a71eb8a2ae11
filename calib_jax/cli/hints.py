"""What to do about a module that is missing. Imports nothing."""

EXTRA = "commands need an extra: pip install 'calib-jax[report]'"
