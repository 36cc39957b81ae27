"""Plainly written loops: what our samplers must equal."""
