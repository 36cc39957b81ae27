"""How the shipped models were made: training a model from nothing, and the example for one of your own.

    python -m recipes.lab_sudoku --out runs/lab-sudoku

starts a recipe from the repository's root. A recipe is a frozen dataclass with the methods of
`unveil.training.trainer.Recipe`: its fields are its settings, `model` gives the weights to start from, `batch` the rows
of a step, `validate` a score, `save` the files that a user loads, `describe` the card beside them. lab_sudoku.py is the
shortest: copy it, and give it your own tokenizer, architecture and rows. lab.py holds what the recipes here share.
"""
