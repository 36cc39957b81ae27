"""Where an answer stands: the last box up to its own brace, without one the last <answer>...</answer>, or nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.tasks.grading.boxes import last_box, marked

pieces = st.sampled_from(["a", "1", " ", "\n", ",", r"\frac", r"\{", r"\}", r"\\", "\\\n"])
balanced = st.recursive(
    pieces, lambda inner: st.lists(inner, max_size=4).map(lambda parts: "{" + "".join(parts) + "}"), max_leaves=8
)
texts = st.lists(balanced, max_size=5).map("".join)
noise = st.text("ab{}\\ ", max_size=8)


@given(noise, texts, noise)
def test_a_box_ends_where_its_brace_closes_whatever_follows(before: str, inside: str, after: str) -> None:
    assert last_box(f"{before}\\boxed{{{inside}}}{after}") == inside


@given(noise, texts, texts)
def test_the_last_box_counts(before: str, first: str, last: str) -> None:
    assert last_box(f"{before}\\boxed{{{first}}} or \\boxed{{{last}}}") == last


@given(noise, texts)
def test_a_box_that_never_closes_is_none(before: str, inside: str) -> None:
    assert last_box(f"{before}\\boxed{{{inside}") is None
    assert last_box(before) is None


@given(noise, texts, noise, st.sampled_from(["", "<answer>", "<answer>7</answer>", "</answer>"]))
def test_a_box_goes_before_tags(before: str, inside: str, after: str, tags: str) -> None:
    assert marked(f"{tags}{before}\\boxed{{{inside}}}{after}{tags}") == inside
    assert marked(f"{tags}{before}\\boxed{{{inside}") is None


@given(noise, st.text("ab <>/\n", max_size=6), st.text("ab <>/\n", max_size=6))
def test_without_a_box_the_last_tags_count(before: str, first: str, last: str) -> None:
    assert marked(f"{before}<answer>{first}</answer> or <answer>{last}</answer>{before}") == last


@pytest.mark.parametrize(
    "text", ["", "18", "#### 18", "<answer>18", "18</answer>", "</answer>18<answer>", r"\boxed 18"]
)
def test_all_else_is_no_answer(text: str) -> None:
    assert marked(text) is None
