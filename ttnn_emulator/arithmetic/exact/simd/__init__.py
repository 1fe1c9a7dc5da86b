"""What a host CPU's vector instructions do, by name, for code that Numba compiles."""
