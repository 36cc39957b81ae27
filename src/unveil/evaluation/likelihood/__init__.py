"""Likelihoods of given texts: the bound of masked diffusion models, and lm-eval, which asks for it."""
