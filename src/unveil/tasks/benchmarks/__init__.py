"""Benchmarks that others have published, asked in their words; judged strictly, and by the published rule."""
