"""Floor 4: text in, text out; samplers by name."""
