"""Every number that a user can set has a legal range, and NaN, infinity and what is outside are refused by name."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil import catalogue
from unveil.decoding.spec import read_sampler
from unveil.legal import OPTIONS, SAMPLERS, TRAININGS, Range, check
from unveil.settings import defaults, keywords
from unveil.training.mask_agnostic import MaskAgnosticTuning
from unveil.training.policy import PolicyTraining
from unveil.training.sft import SFT
from unveil.training.trajectory import TrajectoryTuning

TRAINED = (SFT, MaskAgnosticTuning, TrajectoryTuning, PolicyTraining)
SIZES = {"width", "feed_width", "heads", "layers", "top", "rate"}  # of a policy's network, which knows its own ranges
TABLES = {"samplers": SAMPLERS, "trainings": TRAININGS, "options": OPTIONS}


def is_number(kind: object) -> bool:
    """Whether a setting of that type is a number, or several."""
    return any(name in str(kind).replace("builtins", "") for name in ("int", "float"))


def test_every_number_of_every_sampler_has_a_range() -> None:
    for name, entry in catalogue.samplers().items():
        numbers = {key for key, one in keywords(entry.load()).items() if is_number(one.annotation)}
        assert numbers <= SAMPLERS.keys(), name


@pytest.mark.parametrize("kind", TRAINED)
def test_every_number_of_every_training_has_a_range(kind: type) -> None:
    values = {
        key: value for key, value in defaults(kind).items() if isinstance(value, int | float | tuple) and value != ()
    }
    numbers = {key for key, value in values.items() if not isinstance(value, bool)} - {"targets"}
    assert numbers - SIZES <= TRAININGS.keys()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@given(value=st.one_of(st.floats(), st.integers()), data=st.data())
def test_a_number_is_taken_or_refused_by_name(table: Mapping[str, Range], value: float, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(table)))
    legal = table[name]
    fine = math.isfinite(value) if isinstance(value, float) else True
    if fine and value in legal:
        check(table, **{name: value})
        check(table, **{name: [value, value]})
        return
    with pytest.raises(ValueError) as caught:
        check(table, **{name: value})
    assert str(caught.value).startswith(f"{name}={value} is ") and str(legal) in str(caught.value)


def test_words_and_truth_values_are_no_numbers() -> None:
    check(SAMPLERS, steps=None, cache="none", lookahead=True, block="full")


def test_ranges_read_as_they_are_meant() -> None:
    assert str(SAMPLERS["threshold"]) == "from 0 to 1" and str(SAMPLERS["scale"]) == "above 0 to 1,000,000"
    assert str(SAMPLERS["eps"]) == "above 0 below 1" and str(TRAININGS["ema"]) == "from 0 below 1"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400"])
def test_a_spec_with_no_finite_number_is_refused_before_anything_is_built(text: str) -> None:
    with pytest.raises(ValueError, match="gamma=.* is not a finite number"):
        read_sampler(f"eb_sampler:gamma={text}")


@pytest.mark.parametrize("value", [np.float32("nan"), np.float64("inf"), np.int64(-3), np.float32(-0.5)])
def test_numbers_of_numpy_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match=r"^temperature=.* is (not a finite number|outside its range)"):
        check(SAMPLERS, temperature=value)
