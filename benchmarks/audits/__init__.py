"""Expected precision of flagged labels, audits, and experts that share a bias."""
