"""Every table and figure of the paper, on saved outputs of real models.

    python -m benchmarks.paper FOLDER

reads the outputs in FOLDER, evaluates them through the public functions of calib_jax,
and writes RESULTS.md, results.json and figures. README.md says where to get the files.

    tasks.toml     which files, models and pairs there are
    outputs        saved outputs of one task, as read
    study, halves  random halves, and the confidences calibrated on the first of each
    calibration    Table 1, Figure 1
    cascades       Figures 2 and 3; numbers in cascade_numbers, routers in routing
    large_pairs    Table 2; numbers in large_pair_numbers
    cleaning       Table 3, Figure 4, and language_cleaning for language models; flags,
                   flag_counts, flag_figures, cleaning_claims
    ablations      Tables 4 and 5; ablation_bins, ablation_sizes, ablation_figures
    task_shift     the appendix on other tasks; task_shift_text. With ablations it rests
                   on judging and its batches
    shift          the appendix on corruptions; shift_measures, shift_claims
    independence   how alike two experts may be; independence_measures,
                   independence_figure. With shift it trains models: training,
                   corruptions, expert_pairs
    report         Markdown, figures and claims; preface is what stands before them

Each of the sections is two functions: `evaluate` from a `Study` to numbers, `describe`
from these to text and figures. Shapes: S splits into halves, M models, P pairs, N
examples of a task, n of a half.

References:
  Hao et al. 2026, "When Models Know When They Do Not Know", arXiv 2601.07965.
"""
