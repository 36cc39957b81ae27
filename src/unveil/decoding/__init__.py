"""Floor 3: text in, text out; samplers by name."""
