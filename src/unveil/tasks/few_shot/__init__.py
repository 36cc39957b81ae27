"""Few-shot tasks whose examples and question can be put in any order: what context comprehension is measured on."""
