"""Floor 1: denoisers, p(x0 | canvas)."""
