"""Timings of calib_jax against other libraries and the machine's own floor.

    python -m benchmarks.speed

times every workload and writes RESULTS.md, results.json and figures; one of them alone
is `python -m benchmarks.speed.temperature`. README.md says how it is measured.

    temperature, platt, calibration_error, bootstrap, confident_learning, sequences,
    cascade, many_errors, smooth, risk_coverage
                            the workloads: inputs, candidates, reference, targets
    cases                   what a workload, a candidate and a target are
    arrays                  made-up inputs, their conversion, and the floors
    measure                 candidates in turns, each a child process, of which process
                            is the parent's side; memory is its peak
    growth                  each workload at 1, 4 and 16 times a size
    cold                    first calls, each in a fresh process: cold_calls
    programs                checks that compiled programs hold no copy of the logits
    accelerator             the largest workloads on a GPU or TPU, in device_calls;
                            accelerated is what was measured
    tables, results         Markdown of one workload, and RESULTS.md
    command                 the options, and one workload by itself

Times are seconds and memory is bytes, except in tables.
"""
