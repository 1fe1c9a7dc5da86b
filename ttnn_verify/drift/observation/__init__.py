"""Observes a model's TTNN calls as they run and matches them with Hugging Face's values."""
