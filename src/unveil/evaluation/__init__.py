"""How well and how fast a model decodes, with honest intervals."""
