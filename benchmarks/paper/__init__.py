"""Every table and figure of the paper, on saved outputs of real models.

    python -m benchmarks.paper FOLDER

reads the outputs in FOLDER, evaluates them through the public functions of calib_jax,
and writes RESULTS.md, results.json and figures. README.md says where to get the files.

    study         the tasks, random halves of them, and how much to compute
    text          the templates, which hold all prose: one for each section
    calibration   Table 1, Figure 1
    cascades      Figures 2 and 3; numbers in cascade_numbers, routers in routing
    large_pairs   Table 2; numbers in large_pair_numbers
    cleaning      Table 3, Figure 4, and language_cleaning for language models;
                  flag_counts, flag_figures, cleaning_claims
    ablations     Tables 4 and 5; ablation_bins, ablation_sizes, ablation_figures
    task_shift    the appendix on other tasks; numbers in task_shift_numbers. Like
                  ablations it rests on judging and its batches
    shift         the appendix on corruptions; shift_measures
    independence  how alike two experts may be; independence_measures,
                  independence_figure, expert_pairs
    further       more language models, by softmax maximum and by raw logit;
                  further_numbers, further_claims

Each section has `evaluate`, from a `Study` to numbers, and `describe`, from these to
text and figures. Shapes: S splits into halves, M models, P pairs, N examples of a task,
n examples of a half.

References:
  Hao et al. 2026, "When Models Know When They Do Not Know", arXiv 2601.07965.
"""
