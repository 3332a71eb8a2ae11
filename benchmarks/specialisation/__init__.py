"""Why two large models beat either: the gain of real pairs, and of training runs.

    python -m benchmarks.specialisation FOLDER

splits the gain of every pair of two large models into specialisation and chance, by
groups of examples; and trains small networks several times to see what a second
architecture gains that a second run does not. FOLDER is the one of benchmarks.paper,
whose README.md says where to get the files.

    real    pairs of saved outputs
    runs    networks trained here on the demo's digits
    report  RESULTS.md, results.json and the figures

References:
  Hao et al. 2026, "When Models Know When They Do Not Know", arXiv 2601.07965, Table 2
  and the first of its open questions.
"""
