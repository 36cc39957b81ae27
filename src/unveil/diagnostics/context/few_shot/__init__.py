"""Few-shot questions whose examples can be put in any order: what context comprehension is measured on."""
