"""Models on a mesh of chips: how values lie over the chips, and verdicts on each chip."""
