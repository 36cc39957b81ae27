"""Trainings that can be started by name: `unveil train NAME`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from unveil.training.recipes.lab_puzzles import LabPuzzles
from unveil.training.recipes.lab_rules import LabRules
from unveil.training.recipes.lab_sudoku import LabSudoku

__all__ = ["RECIPES", "LabPuzzles", "LabRules", "LabSudoku"]

RECIPES: Mapping[str, type[Any]] = MappingProxyType({kind.name: kind for kind in (LabSudoku, LabPuzzles, LabRules)})
