"""Compares what a TTNN model computes with what Hugging Face's computes."""
