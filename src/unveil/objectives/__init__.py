"""Floor 3: objectives, (denoiser, batch, seed) -> loss."""
