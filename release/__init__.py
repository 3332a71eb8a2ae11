"""How a version is released: `python -m release 0.2.0`, then the push it prints."""
