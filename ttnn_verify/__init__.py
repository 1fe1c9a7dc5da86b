"""Comparing: what a TTNN model computed against what Hugging Face computed."""
