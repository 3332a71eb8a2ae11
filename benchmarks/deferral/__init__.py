"""The wall-clock time that a cascade saves against the large model alone.

    python -m benchmarks.deferral

trains the two models of the demo on its digits, fits temperatures and a router on one
half, and times `calib_jax.flax.Deferred` and the large model in turns, on the other.

    pair       two trained and calibrated models, and how a cascade of them is set up
    measure    times and answers of the large model, the small one and cascades
    report     RESULTS.md, results.json and the figure

Times are seconds, except in tables.
"""
