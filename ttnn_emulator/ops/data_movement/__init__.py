"""Bindings of operations that move values: into other shapes, layouts and places."""
