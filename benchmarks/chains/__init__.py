"""Chains of models with prices, on saved outputs: accuracy against cost.

    python -m benchmarks.chains FOLDER

calibrates, fits and chooses on one part of the questions and reports on the other, and
compares chains with every pair of models, with single models and with the largest one.
FOLDER is the one of benchmarks.paper, whose README.md says where to get the files.

    problems    which questions are for choosing and which for judging
    choices     the best combination within a budget, of every subset of the models
    comparing   families of chains, and paired differences between them
    abstaining  accuracy and cost against coverage
    report      RESULTS.md and results.json
    drawing     the figures

References:
  Hao et al. 2026, arXiv 2601.07965; Chen et al., "FrugalGPT", 2023, arXiv 2305.05176.
"""
