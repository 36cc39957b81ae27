"""Floor 4: training, on Accelerate."""
