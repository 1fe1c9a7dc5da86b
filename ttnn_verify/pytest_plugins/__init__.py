"""pytest plugins: devices, comparisons, baselines, reports, hung calls, cards."""
