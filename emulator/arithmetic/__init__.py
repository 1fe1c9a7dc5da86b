"""Pure tensor maths: number formats and what the compute units do with them. Knows nothing of ttnn."""
