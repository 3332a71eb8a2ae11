"""Which calibrator for how many rows? All of them on saved outputs of real models.

    python -m benchmarks.families FOLDER

fits every calibrator of the library on 50 to 20,000 rows of saved outputs and judges it
on other rows. FOLDER is the one of benchmarks.paper, whose README.md says where to get
the files.

    scores      calibrators of one score, such as the log-odds of a confidence
    classes     calibrators of the logits of all classes
    report      RESULTS.md, results.json and the figures
"""
