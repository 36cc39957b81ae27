"""Floor 2: samplers, canvas -> canvas."""
