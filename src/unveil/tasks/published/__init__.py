"""Published benchmarks asked in words, with the published prompts; judged strictly, and by the published rule."""
