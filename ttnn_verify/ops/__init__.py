"""What each TTNN operation must compute from its operands, and how far off it may be.

One `OpSpec` per operation, in the module of its family; `table.SPECS` gathers them by short name.
"""
