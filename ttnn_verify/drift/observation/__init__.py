"""A model's TTNN calls as they run, beside the values of Hugging Face's that they make."""
