"""The matrix unit: products, row sums, and element by element."""
