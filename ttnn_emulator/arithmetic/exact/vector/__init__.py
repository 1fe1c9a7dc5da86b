"""The vector unit (SFPU) and the functions made of its instructions."""
