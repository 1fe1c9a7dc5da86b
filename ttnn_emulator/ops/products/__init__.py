"""Matrix products of particular operations: of caches, experts, and by kernels of their own."""
