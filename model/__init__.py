"""Phi-3 mini in TTNN: pure TTNN between token ids and logits, driven by Hugging Face's generate.

Two stages of one bring-up, each with a `build_model` of its own: `functional`, the plain one, and
`optimized`.
"""
