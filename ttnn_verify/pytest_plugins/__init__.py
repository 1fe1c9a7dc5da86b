"""pytest plugins: devices, comparisons, failures, baselines, reports, hung calls, cards."""
