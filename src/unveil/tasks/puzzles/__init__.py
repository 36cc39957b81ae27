"""Puzzles that are made here: a generator, a text form and a verifier each."""
