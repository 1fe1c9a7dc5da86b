"""(being written)"""

KERNELS = {}
