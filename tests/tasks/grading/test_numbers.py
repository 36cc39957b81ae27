"""Numbers in answers: exactly what is written, in every usual way of writing it, and nothing where it is not clear."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.tasks.grading.numbers import LONGEST, exact, number

whole = st.integers(0, 10**12)
signs = st.sampled_from(["", "-", "- ", "+", "−"])
UNITS = [
    "",
    ".",
    "%",
    r"\%",
    " eggs",
    " dollars.",
    "kg",
    r"\text{ cm}^2",
    r" \mathrm{m}^{3}",
    "^\\circ",
    r"\,\text{hours}",
    "/day",
]


def value(sign: str, size: Fraction | int) -> Fraction:
    return Fraction(size) * (-1 if sign.strip() in ("-", "−") else 1)


@given(signs, whole, st.sampled_from(["{}", "{:,}", "0{}", "{}.", "{}.0", "{:,}.00"]))
def test_whole_numbers(sign: str, size: int, form: str) -> None:
    text = sign + form.format(size)
    assert exact(text) == number(text) == value(sign, size)


@given(signs, whole, st.text("0123456789", min_size=1, max_size=9))
def test_decimal_numbers(sign: str, size: int, rest: str) -> None:
    text = f"{sign}{size:,}.{rest}"
    assert exact(text) == number(text) == value(sign, Fraction(f"{size}.{rest}"))
    assert exact(f"{sign}.{rest}") == value(sign, Fraction(f"0.{rest}"))


FRACTIONS = [r"{}/{}", r"{} / {}", r"\frac{{{}}}{{{}}}", r"\dfrac{{ {} }}{{{}}}", r"\tfrac {{{}}} {{{}}}"]


@given(signs, st.integers(0, 10**6), st.integers(1, 10**6), st.sampled_from(FRACTIONS), st.integers(0, 99))
def test_fractions_and_mixed_numbers(sign: str, over: int, under: int, form: str, before: int) -> None:
    fraction = form.format(over, under)
    assert exact(sign + fraction) == number(sign + fraction) == value(sign, Fraction(over, under))
    assert exact(f"{sign}{before} {fraction}") == value(sign, before + Fraction(over, under))


@given(st.integers(1, 9), st.integers(1, 9))
def test_fractions_of_digits_need_no_braces(over: int, under: int) -> None:
    for text in (
        rf"\frac{over}{under}",
        rf"\frac {over}{under}",
        rf"\frac{over}{{{under}}}",
        rf"\frac{{{over}}}{under}",
    ):
        assert exact(text) == Fraction(over, under)


@given(signs, whole, st.sampled_from(UNITS), st.sampled_from(["", "$", r"\$", "£", "x = ", "5 + 3 =", r"\("]))
def test_units_and_what_stands_before_an_equals_sign_do_not_matter(sign: str, size: int, unit: str, front: str) -> None:
    assert number(f"{front}{sign}{size:,}{unit}") == value(sign, size)
    assert number(rf"\text{{{sign}{size}}}{unit}") == value(sign, size)


UNCLEAR = [
    "", " ", ".", "-", "...", "1,23", "12,34", "1,2345", "12345,678", "1 00", "10 0000", "5x", "5 y",
    "4 less than x", "18 squared", "18 and a half", "3 thirds", "18_8", r"\approx 5",
    "~5", "3:00", "2:30 pm", "2k", "5abc", "18 or twenty", "18 times a number",
    "1.2.3", "1/0", r"\frac{1}{0}", "3 or 5",
    "18 and 2 left", "5-3", "5−3", "2 + 3", "minus 5", "about 5", "five", "1e3", "1_000", "٣", "５", "²", "0x10", "inf",
    "nan", r"2\pi", r"\sqrt{4}", r"10^3", "1:30", "a = b = 7", "5 = ", "5 to 1", "3x+2", "18 - x", "--5", "10²", "5!",
]  # fmt: skip


@pytest.mark.parametrize("text", UNCLEAR)
def test_what_is_not_clear_is_no_number(text: str) -> None:
    assert number(text) is None
    assert exact(text) is None


@pytest.mark.parametrize("text", ["2k", "2 k", "25%", r"\$5", "x=5", "5 eggs", r"90^\circ", "52_8", r"5\text{ kg}"])
def test_an_exact_number_has_no_unit(text: str) -> None:
    assert exact(text) is None


@given(st.text() | st.text("0123456789,./-+ \\frac{}$%=x", max_size=250))
def test_any_text_has_a_number_or_none(text: str) -> None:
    for found in (number(text), exact(text)):
        assert found is None or isinstance(found, Fraction)
    if exact(text) is not None and "=" not in text:
        assert number(text) == exact(text)


FRONTS = [
    "", "$", "€", "£", "¥", "₹", "¢", r"\pounds ", r"\pounds", r"\euro", r"\displaystyle", "USD ", r"\text{Answer: }",
    r"\underline", r"\$",
]  # fmt: skip


@given(
    st.sampled_from(FRONTS),
    whole,
    st.sampled_from(["{}", "{:,}"]),
    st.sampled_from(["", " million", " dozen", r"\text{ thousand}", " hundred", " billion"]),
    st.sampled_from(["", " eggs", " plates", r"\text{ dollars}.", " (in all)"]),
)
def test_scales_count_and_currencies_do_not(front: str, size: int, form: str, scale: str, unit: str) -> None:
    by = {"million": 10**6, "dozen": 12, "thousand": 1000, "hundred": 100, "billion": 10**9}
    written = form.format(size)
    text = f"{front}{{{written}}}" if front.endswith("underline") else f"{front}{written}"
    assert number(f"{text}{scale}{unit}") == size * next((by[word] for word in by if word in scale), 1)


@given(st.integers(1000, 10**12), st.sampled_from([" ", r"\,", "~", r"\ "]))
def test_blanks_part_thousands(size: int, blank: str) -> None:
    assert number(f"{size:,}".replace(",", blank)) == exact(f"{size:,}".replace(",", blank)) == size


@given(st.integers(1, 12), st.sampled_from(["pm", " am", " p.m.", r"\text{ PM}"]))
def test_a_full_hour_is_its_number(hour: int, half: str) -> None:
    assert number(f"{hour}:00{half}") == hour and number(f"{hour}:30{half}") is None and number(f"{hour}:00") is None


def test_long_texts_have_none() -> None:
    assert number("1" * LONGEST) == exact("1" * LONGEST) == int("1" * LONGEST)
    assert number("1" * (LONGEST + 1)) is exact("1" * (LONGEST + 1)) is None
