"""Do alarms come before a cascade gets worse, and how many are false?

    python -m benchmarks.alarms FOLDER

    simulation  false alarms and coverage where the truth is known
    measure     one cascade on new inputs: alarms, estimates, and the truth
    digits      networks trained here, and corruptions of increasing severity
    saved       saved outputs: other questions, and other classes
    report      RESULTS.md, results.json and the figures

FOLDER is the one of benchmarks.paper, whose README.md says where to get the files.
"""
