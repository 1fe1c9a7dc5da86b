"""What pytest learns: devices, comparisons, baselines, reports, hung calls, cards."""
