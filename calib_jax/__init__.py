"""Calibrate confidence, cascade models by it, and clean labels with it, in JAX.

Pure, jitted functions on arrays and pytrees, after Hao et al., "When Models Know When
They Do Not Know", 2026, arXiv 2601.07965. Data are arrays over N examples; `where`
masks examples and `weights` counts them; one problem at a time, many by `jax.vmap`.
"""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from . import selection as selection
from . import solvers as solvers
from . import summary as summary
from .abstaining import selective_accuracy as selective_accuracy
from .abstaining import with_abstaining as with_abstaining
from .alarms import DriftAlarm as DriftAlarm
from .alarms import DriftMonitor as DriftMonitor
from .alarms import drift_alarm as drift_alarm
from .alarms import drift_monitor as drift_monitor
from .alarms import update_drift_monitor as update_drift_monitor
from .audits import AuditedRate as AuditedRate
from .audits import AuditPlan as AuditPlan
from .audits import audit_sample as audit_sample
from .audits import audited_precision as audited_precision
from .audits import audited_rates as audited_rates
from .audits import num_to_audit as num_to_audit
from .binning import Bins as Bins
from .binning import bin_index as bin_index
from .binning import equal_count_bins as equal_count_bins
from .binning import equal_width_bins as equal_width_bins
from .block_fits import fit_platt_of_blocks as fit_platt_of_blocks
from .block_fits import fit_temperature_of_blocks as fit_temperature_of_blocks
from .blocks import array_blocks as array_blocks
from .blocks import calibration_error_of_blocks as calibration_error_of_blocks
from .blocks import reliability_table_of_blocks as reliability_table_of_blocks
from .bounds import betting_p_value as betting_p_value
from .bounds import binomial_p_value as binomial_p_value
from .bounds import clopper_pearson as clopper_pearson
from .bounds import hoeffding_bentkus_p_value as hoeffding_bentkus_p_value
from .budgets import num_small_bins_for_cost as num_small_bins_for_cost
from .budgets import (
    num_small_bins_for_expected_loss as num_small_bins_for_expected_loss,
)
from .calibration import calibrate as calibrate
from .calibration_drifts import CalibrationDrift as CalibrationDrift
from .calibration_drifts import calibration_drift as calibration_drift
from .calibration_intervals import CalibrationErrorInterval as CalibrationErrorInterval
from .calibration_intervals import (
    calibration_error_interval as calibration_error_interval,
)
from .cascade import AdvantageTable as AdvantageTable
from .cascade import Router as Router
from .cascade import advantage_table as advantage_table
from .cascade import fit_router as fit_router
from .cascade import use_small as use_small
from .cascade_differences import CascadeDifference as CascadeDifference
from .cascade_differences import (
    cascade_difference_interval as cascade_difference_interval,
)
from .cascade_intervals import CascadeInterval as CascadeInterval
from .cascade_intervals import cascade_interval as cascade_interval
from .chain_curves import ChainChoice as ChainChoice
from .chain_curves import ChainCurve as ChainCurve
from .chain_curves import best_within_cost as best_within_cost
from .chain_curves import chain_curve as chain_curve
from .chain_curves import cost_frontier as cost_frontier
from .chains import Chain as Chain
from .chains import chain_answers as chain_answers
from .chains import fit_chain as fit_chain
from .cleaning import CleaningCurve as CleaningCurve
from .cleaning import ExpertBins as ExpertBins
from .cleaning import cleaning_curve as cleaning_curve
from .cleaning import fit_expert_bins as fit_expert_bins
from .cleaning import high_confidence_disagreement as high_confidence_disagreement
from .cleaning import repair_labels as repair_labels
from .cleaning import suggest_labels as suggest_labels
from .cleaning import suspicion as suspicion
from .cleaning import top1_disagreement as top1_disagreement
from .confidence import Top1 as Top1
from .confidence import choice_logits as choice_logits
from .confidence import log_odds as log_odds
from .confidence import log_odds_of_log as log_odds_of_log
from .confidence import scaled_softmax as scaled_softmax
from .confidence import sequence_log_likelihood as sequence_log_likelihood
from .confidence import sequence_mean_logit as sequence_mean_logit
from .confidence import top1 as top1
from .curves import CascadeCurve as CascadeCurve
from .curves import (
    average_performance_gap_recovered as average_performance_gap_recovered,
)
from .curves import call_performance_threshold as call_performance_threshold
from .curves import cascade_curve as cascade_curve
from .curves import performance_gap_recovered as performance_gap_recovered
from .curves import random_curve as random_curve
from .decoding import DecodingSummary as DecodingSummary
from .decoding import LikelihoodScores as LikelihoodScores
from .decoding import SequenceScores as SequenceScores
from .decoding import decoding_summary as decoding_summary
from .decoding import likelihood_scores as likelihood_scores
from .decoding import sequence_scores as sequence_scores
from .decoding import update_decoding as update_decoding
from .deferral import Deferral as Deferral
from .deferral import defer as defer
from .drift import OccupancyDrift as OccupancyDrift
from .drift import occupancy_drift as occupancy_drift
from .estimated_accuracies import EstimatedAccuracy as EstimatedAccuracy
from .estimated_accuracies import estimated_accuracy as estimated_accuracy
from .expected_precision import ExpectedPrecision as ExpectedPrecision
from .expected_precision import FalseFlags as FalseFlags
from .expected_precision import expected_false_flags as expected_false_flags
from .expected_precision import expected_precision as expected_precision
from .expected_precision import expected_precision_by_bin as expected_precision_by_bin
from .expected_precision import label_error_probability as label_error_probability
from .expert_dependence import ExpertDependence as ExpertDependence
from .expert_dependence import expert_dependence as expert_dependence
from .guaranteed_routers import GuaranteedRouter as GuaranteedRouter
from .guaranteed_routers import fit_router_with_guarantee as fit_router_with_guarantee
from .guarantees import Selection as Selection
from .guarantees import (
    num_small_bins_for_accuracy_drop as num_small_bins_for_accuracy_drop,
)
from .guarantees import num_small_bins_for_regret as num_small_bins_for_regret
from .guarantees import num_small_bins_for_small_error as num_small_bins_for_small_error
from .histogram import Histogram as Histogram
from .histogram import fit_histogram as fit_histogram
from .intervals import BootstrapInterval as BootstrapInterval
from .intervals import CleaningInterval as CleaningInterval
from .intervals import Interval as Interval
from .intervals import bootstrap_interval as bootstrap_interval
from .intervals import cleaning_interval as cleaning_interval
from .io import load as load
from .io import save as save
from .label_issues import LabelIssues as LabelIssues
from .label_issues import confident_learning as confident_learning
from .label_noise import estimate_label_noise as estimate_label_noise
from .label_noise import true_label_confidence as true_label_confidence
from .label_noise import true_label_probabilities as true_label_probabilities
from .label_noise import uniform_label_noise as uniform_label_noise
from .log_probabilities import LogProbabilities as LogProbabilities
from .log_probabilities import choice_log_probabilities as choice_log_probabilities
from .log_probabilities import read_log_probabilities as read_log_probabilities
from .metrics import area_under_roc as area_under_roc
from .metrics import brier_score as brier_score
from .metrics import expected_calibration_error as expected_calibration_error
from .metrics import log_loss as log_loss
from .metrics import maximum_calibration_error as maximum_calibration_error
from .metrics import rank_correlation as rank_correlation
from .metrics import table_calibration_error as table_calibration_error
from .platt import Platt as Platt
from .platt import fit_platt as fit_platt
from .resampling import bootstrap as bootstrap
from .resampling import bootstrap_reliability as bootstrap_reliability
from .review_sheets import ReviewAnswer as ReviewAnswer
from .review_sheets import ReviewSheet as ReviewSheet
from .review_sheets import read_review_sheet as read_review_sheet
from .review_sheets import write_review_sheet as write_review_sheet
from .run_gains import RunGains as RunGains
from .run_gains import cascade_gain_of_runs as cascade_gain_of_runs
from .selection import best_num_small_bins as best_num_small_bins
from .selection import num_small_bins_for_accuracy as num_small_bins_for_accuracy
from .selection import num_small_bins_for_large_share as num_small_bins_for_large_share
from .solvers import FitReport as FitReport
from .solvers import FitStatus as FitStatus
from .specialisation import CascadeGain as CascadeGain
from .specialisation import cascade_gain_test as cascade_gain_test
from .streamed import Streamed as Streamed
from .streamed import StreamedCurve as StreamedCurve
from .streamed import StreamedReliability as StreamedReliability
from .streamed import StreamedRouter as StreamedRouter
from .streamed import (
    streamed_average_performance_gap_recovered as streamed_average_performance_gap_recovered,  # noqa: E501
)
from .streamed import streamed_calibration_error as streamed_calibration_error
from .streamed import streamed_cascade_curve as streamed_cascade_curve
from .streamed import streamed_reliability_table as streamed_reliability_table
from .streamed import streamed_router as streamed_router
from .streaming import CascadeSummary as CascadeSummary
from .streaming import ReliabilitySummary as ReliabilitySummary
from .streaming import cascade_summary as cascade_summary
from .streaming import merge_summaries as merge_summaries
from .streaming import psum_summary as psum_summary
from .streaming import reliability_summary as reliability_summary
from .streaming import score_buckets as score_buckets
from .streaming import update_cascade as update_cascade
from .streaming import update_reliability as update_reliability
from .streaming_fits import merge_fits as merge_fits
from .streaming_fits import psum_fit as psum_fit
from .streaming_platt import PlattSummary as PlattSummary
from .streaming_platt import StreamedPlatt as StreamedPlatt
from .streaming_platt import fit_streamed_platt as fit_streamed_platt
from .streaming_platt import platt_summary as platt_summary
from .streaming_platt import update_platt as update_platt
from .streaming_temperature import StreamedFit as StreamedFit
from .streaming_temperature import TemperatureSummary as TemperatureSummary
from .streaming_temperature import fit_streamed_temperature as fit_streamed_temperature
from .streaming_temperature import temperature_summary as temperature_summary
from .streaming_temperature import update_temperature as update_temperature
from .summary import ReliabilityTable as ReliabilityTable
from .summary import reliability_table as reliability_table
from .temperature import Temperature as Temperature
from .temperature import fit_temperature as fit_temperature
from .validate import validate_labels as validate_labels
from .validate import validate_logits as validate_logits
from .validate import validate_scores as validate_scores

try:
    __version__ = _version("calib_jax")
except _PackageNotFoundError:  # A source tree on the path, not installed.
    __version__ = "0+unknown"
