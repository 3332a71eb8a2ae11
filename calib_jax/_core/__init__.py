"""What every room stands on: argument checks, masks, exact sums, blocked reductions."""
