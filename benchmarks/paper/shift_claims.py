"""What the numbers of shift say of the paper's claims."""

import numpy as np

from benchmarks.kit import report
from benchmarks.kit.report import Claim

from .shift_measures import Numbers


def claims(numbers: Numbers) -> list[Claim]:
    found = [_claim_calibration(numbers), _claim_recalibration(numbers)]
    if np.any(numbers.comparable):
        found += [_claim_routing(numbers), _claim_refitted_routing(numbers)]
    return found


def _claim_calibration(numbers: Numbers) -> Claim:
    error = numbers.error[:, :, :, 1].mean(axis=0)
    rises = error[:, -1] > error[:, 0]
    always = np.all(np.diff(error, axis=1) > 0, axis=1)
    small, large = (_listed(error[:, :, model].mean(axis=0)) for model in (0, 1))
    return Claim(
        "Calibration fitted on clean data degrades with the severity of a shift",
        report.verdict(int(rises.sum()), rises.size),
        f"ECE is higher at the highest severity than on clean images for "
        f"{int(rises.sum())} of {rises.size} (two models, {len(error)} corruptions), "
        f"and rises with every step for {int(always.sum())}; mean by severity: small "
        f"model {small}; large model {large}",
    )


def _claim_recalibration(numbers: Numbers) -> Claim:
    error = numbers.error.mean(axis=0)
    clean, worst, again = error[:, 0, 1], error[:, -1, 1], error[:, -1, 2]
    falls = again < worst
    restored = again <= clean
    return Claim(
        f"Refitting on {numbers.num_refit} shifted examples gives calibration back",
        report.verdict(int(falls.sum()), falls.size),
        f"at the highest severity the refitted temperature has the lower ECE for "
        f"{int(falls.sum())} of {falls.size}, though that of clean images is reached "
        f"for {int(restored.sum())}; mean {report.number(worst.mean())} → "
        f"{report.number(again.mean())}, on clean images {report.number(clean.mean())}",
    )


def _claim_routing(numbers: Numbers) -> Claim:
    recovered = numbers.recovered[..., 1][:, numbers.comparable].mean(axis=0)
    worse = int(np.sum(recovered[:, -1] < recovered[:, 0]))
    return Claim(
        "Routing (APGR) degrades with the severity of a shift",
        report.verdict(worse, len(recovered)),
        f"APGR of CC is lower at the highest severity than on clean images for {worse} "
        f"of {len(recovered)} corruptions under which the large model stays the better "
        f"one; mean by severity: {_listed(recovered.mean(axis=0))}",
    )


def _claim_refitted_routing(numbers: Numbers) -> Claim:
    recovered, lost = (
        values[:, numbers.comparable, -1].mean(axis=0)
        for values in (numbers.recovered, numbers.lost)
    )
    before, again = recovered[:, 1], recovered[:, 2]
    better = int(np.sum(again > before))
    lost = [report.number(value, 2, 100.0) for value in lost.mean(axis=0)]
    return Claim(
        f"Refitting on {numbers.num_refit} shifted examples gives routing back",
        report.verdict(better, len(before)),
        f"at the highest severity APGR is higher for {better} of {len(before)} "
        f"corruptions; mean {report.number(before.mean())} → "
        f"{report.number(again.mean())}. What the cascade loses at the K chosen for no "
        f"loss: {lost[0]} → {lost[1]} points",
    )


def _listed(values: np.ndarray) -> str:
    return ", ".join(map(report.number, values))
