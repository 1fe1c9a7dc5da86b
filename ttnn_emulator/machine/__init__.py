"""The machine that TTNN finds: chips, runtime root, open devices, folders on the host."""
