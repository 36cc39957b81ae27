"""Tokenizers that come with small models, and files that are none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.checkpoints.tokenizer import Codec, FileTokenizer

ALPHABET = "\n=01234 "
TOKENIZER = FileTokenizer.characters(ALPHABET, ["[EOS]", "[MASK]"])


@given(st.text(alphabet=ALPHABET, max_size=20))
def test_text_there_and_back(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids == [ALPHABET.index(character) for character in text] and TOKENIZER.decode(ids) == text


def test_special_tokens_are_one_id_and_left_out_of_text(tmp_path: Path) -> None:
    assert TOKENIZER.encode("1[MASK]2[EOS]") == [3, 9, 4, 8] and TOKENIZER.decode([3, 9, 4, 8]) == "12"
    assert isinstance(TOKENIZER, Codec)
    TOKENIZER.save(tmp_path / "tokenizer.json")
    again = FileTokenizer.load(tmp_path / "tokenizer.json")
    assert again.encode("1[MASK]2[EOS]") == [3, 9, 4, 8] and again.decode([0, 1, 2]) == "\n=0"


def test_what_cannot_be_written_is_named() -> None:
    with pytest.raises(ValueError, match=r"the model's vocabulary cannot write '12x' \(.*\): use its characters"):
        TOKENIZER.encode("12x")


@pytest.mark.parametrize("text", ["", "{}", "no json"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer file \(.*\): download it again"):
        FileTokenizer.load(tmp_path / "tokenizer.json")
