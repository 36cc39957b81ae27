"""Floor 5: training, on Accelerate."""
