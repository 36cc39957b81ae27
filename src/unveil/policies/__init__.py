"""Floor 4: learned unmasking policies, what a step shows -> a logit for every column."""
