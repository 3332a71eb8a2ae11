"""Code that benchmarks share; each imports from here and none from another.

    command      command lines and progress bars
    report       templates, tables, numbers and figures: RESULTS.md and results.json
    plain        results.json to and from dataclasses
    outputs      saved outputs of real models; tasks.toml says which there are
    halves       random halves, and calibration on the first of each
    flags        labels that calibrated experts contradict
    training     networks trained on digits, which corruptions makes harder
    machine      the machine of a run; timing times one call

The text of a benchmark is a Jinja template beside its code, RESULTS.md.jinja: the
document itself, with holes. The code computes values and tables, and the filters of
`report` format numbers.
"""
