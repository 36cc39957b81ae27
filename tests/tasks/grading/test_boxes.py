"""Where an answer stands: the last box up to its own brace, without one the last <answer>...</answer>, or nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.tasks.grading.boxes import Answer, answered, last_box, marked

pieces = st.sampled_from(["a", "1", " ", "\n", ",", r"\frac", r"\{", r"\}", r"\\", "\\\n"])
balanced = st.recursive(
    pieces, lambda inner: st.lists(inner, max_size=4).map(lambda parts: "{" + "".join(parts) + "}"), max_leaves=8
)
texts = st.lists(balanced, max_size=5).map("".join)
noise = st.text("ab{}\\ ", max_size=8)


@given(noise, texts, noise)
def test_a_box_ends_where_its_brace_closes_whatever_follows(before: str, inside: str, after: str) -> None:
    assert last_box(f"{before}\\boxed{{{inside}}}{after}") == Answer(inside)


@given(noise, texts, texts)
def test_the_last_box_counts(before: str, first: str, last: str) -> None:
    assert last_box(f"{before}\\boxed{{{first}}} or \\boxed{{{last}}}") == Answer(last)


@given(noise, texts)
def test_a_box_that_never_closes_counts_only_at_the_end(before: str, inside: str) -> None:
    assert last_box(f"{before}\\boxed{{{inside}\nand more") is None
    assert last_box(before) is None
    assert answered(f"{before}\\boxed{{7</answer>\n") == Answer("7", "unclosed box")


@given(noise, texts, noise, st.sampled_from(["", "<answer>", "<answer></answer>", "</answer>"]))
def test_a_box_goes_before_tags(before: str, inside: str, after: str, tags: str) -> None:
    assert marked(f"{tags}{before}\\boxed{{{inside}}}{after}{tags}") == inside


@given(noise, st.text("ab <>/\n", max_size=6).filter(str.strip), st.text("ab <>/\n", max_size=6))
def test_what_follows_the_first_answer_is_not_read(before: str, first: str, last: str) -> None:
    for after in (f"<answer>{last}</answer>", f"\\boxed{{{last}}}", last):
        assert marked(f"{before}<answer>{first}</answer> or {after}{before}") == first
        assert marked(f"\\boxed{{{first}}}</answer> or {after}") == first


@pytest.mark.parametrize(("text", "text_found", "remark"), [
    (r"\boxed {7}", "7", ""), ("\\boxed\n{90}", "90", ""), (r"\boxed 7", "7", "box without braces"),
    (r"$\boxed 7$ it is", "7", "box without braces"), ("boxed{7}", "7", "boxed without backslash"),
    (r"\boxed{\frac{1}{2}", r"\frac{1}{2}", "unclosed box"), (r"\boxed{17}, a \boxed answer", "17", ""),
    (r"<answer>\boxed{...}</answer> so <answer>5</answer>", "...", ""),
])  # fmt: skip
def test_other_forms_are_read_and_said(text: str, text_found: str, remark: str) -> None:
    assert answered(text) == Answer(text_found, remark)


@pytest.mark.parametrize(
    "text", ["", "18", "#### 18", "<answer>18", "18</answer>", "</answer>18<answer>", r"\fbox{18}", "unboxed{18}"]
)
def test_all_else_is_no_answer(text: str) -> None:
    assert marked(text) is None
