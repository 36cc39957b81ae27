"""How a model reads its context, and what appended masks cost it (Piskorz et al. 2025, arXiv 2511.21338)."""
