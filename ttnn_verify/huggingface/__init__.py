"""Hugging Face's side: checkpoints, what its modules compute, goldens of whole models."""
