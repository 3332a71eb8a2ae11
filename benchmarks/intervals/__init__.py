"""How often the intervals of `calib_jax` contain the truth, where it is known.

    python -m benchmarks.intervals

draws rows from populations whose every probability is known, again and again, and
counts how often the intervals contain the population's number.

    calibration_errors   of the ECE on fixed bins, beside a percentile bootstrap
    cascades             of curves, PGR, APGR, advantages and differences of routers
    flags                of precision and recall of flagged labels
    report               RESULTS.md, results.json and the figure
"""
