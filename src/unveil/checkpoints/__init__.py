"""Floor 3: a checkpoint's folder: where it is, weights in their published layouts, tokenizer, chat template."""
