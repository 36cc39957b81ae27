"""Floor 4: objectives, (denoiser, batch, seed) -> loss."""
