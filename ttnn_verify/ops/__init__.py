"""What each TTNN operation must make of its operands, and how far off it may be."""
