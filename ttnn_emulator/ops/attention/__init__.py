"""Scaled dot product attention: over a prompt, over a cache, of latent keys, and joint."""
