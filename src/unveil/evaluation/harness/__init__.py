"""lm-eval's tasks on masked diffusion models: importing this makes lm-eval's model `unveil` known."""

from unveil.evaluation.harness.lm import OPTIONS, UnveilLM

__all__ = ["OPTIONS", "UnveilLM"]
