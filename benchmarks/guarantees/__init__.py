"""Do guarantees hold? K chosen on some rows, judged where the truth is known.

    python -m benchmarks.guarantees FOLDER

simulates two models whose risks are known, and splits saved outputs of real models in
two many times, where the whole data set is the truth. FOLDER is the one of
benchmarks.paper, whose README.md says where to get the files.

    simulation  two models of known accuracy in every bin
    real        random splits of saved outputs
    report      RESULTS.md, results.json and the figure

References:
  Angelopoulos et al., "Conformal Risk Control", 2022, arXiv 2208.02814; "Learn then
  Test", 2021, arXiv 2110.01052.
"""
