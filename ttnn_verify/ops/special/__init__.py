"""Operations of particular kinds of models: latent and joint attention, experts, own kernels."""
