"""On a causal model ours and lm-eval's own model `hf` give the same: texts are read, scored and cut alike."""

from random import Random
from typing import Any

import pytest

from unveil.checkpoints.families.llama import LLAMA
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.files import write_json
from unveil.models.attention import Causal
from unveil.models.transformer import Architecture, Transformer, initialise

pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'unveil[lm-eval]'")
pytest.importorskip("transformers", reason="needs transformers: pip install 'unveil[hf]'")
from lm_eval.api.instance import Instance  # noqa: E402

from unveil.evaluation.likelihood.harness import UnveilLM  # noqa: E402

pytestmark = pytest.mark.slow
ALPHABET = "\n abcdefghijklmnopqrstuvwxyz?"
CONTEXT = 64


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[UnveilLM, Any]:
    """A random Llama over characters; `hf` gets a context a column shorter: here it holds the last token, too."""
    from lm_eval.models.huggingface import HFLM

    folder = tmp_path_factory.mktemp("llama")
    tokenizer = FileTokenizer.characters(ALPHABET, ["<eos>"])
    size = len(ALPHABET) + 1
    architecture = Architecture(
        vocabulary=size, width=32, layers=2, heads=2, kv_heads=2, head_width=16, feed_width=64, mask_id=None,
        end_ids=(size - 1,), max_columns=CONTEXT, shift=1, rule=Causal(),
    )  # fmt: skip
    save_checkpoint(initialise(Transformer(architecture), 0, std=0.5), folder, LLAMA)
    tokenizer.save(folder / "tokenizer.json")
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "model_max_length": CONTEXT}
    write_json(folder / "tokenizer_config.json", about)
    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4, max_length=CONTEXT - 1)
    return UnveilLM(folder, device="cpu", batch_size=4), theirs


def requests(kind: str, count: int, *makers: Any) -> list[Instance]:
    """So many of them; each maker gives an argument from random numbers."""
    rng = Random(0)
    drawn = [tuple(make(rng) for make in makers) for _ in range(count)]
    return [Instance(request_type=kind, doc={}, arguments=a, idx=0, metadata=("t", n, 1)) for n, a in enumerate(drawn)]


def text(low: int, high: int) -> Any:
    return lambda rng: "".join(rng.choice("\n abcdefgh?") for _ in range(rng.randint(low, high)))


def test_continuations(both: tuple[UnveilLM, Any]) -> None:
    asked = requests("loglikelihood", 60, lambda rng: text(0, 20)(rng).lstrip(), lambda rng: text(1, 9)(rng) + "a")
    assert any(not request.args[0] for request in asked) and any(request.args[0].endswith(" ") for request in asked)
    ours, theirs = (lm.loglikelihood(asked, disable_tqdm=True) for lm in both)
    assert [one for one, _ in ours] == pytest.approx([one for one, _ in theirs], abs=1e-3)
    assert [fine for _, fine in ours] == [fine for _, fine in theirs]


def test_documents(both: tuple[UnveilLM, Any]) -> None:
    lengths = iter([1, 5, 62, 63, 64, 126, 127, 300])
    asked = requests("loglikelihood_rolling", 8, lambda rng: text(n := next(lengths), n)(rng))
    ours, theirs = (lm.loglikelihood_rolling(asked, disable_tqdm=True) for lm in both)
    assert ours == pytest.approx(theirs, abs=1e-2)


def test_answers(both: tuple[UnveilLM, Any]) -> None:
    asked = requests(
        "generate_until", 20, lambda rng: text(1, 20)(rng) + "a",
        lambda rng: {"max_gen_toks": 8, "until": ["b", "\n\n"], "do_sample": False},
    )  # fmt: skip
    ours, theirs = (lm.generate_until(asked, disable_tqdm=True) for lm in both)
    assert ours == theirs and len(set(ours)) > 5
    right = [
        Instance(request_type="loglikelihood", doc={}, arguments=(request.args[0], answer), idx=0, metadata=("t", 0, 1))
        for request, answer in zip(asked, ours, strict=True)
        if answer
    ]
    fine = [[greedy for _, greedy in lm.loglikelihood(right, disable_tqdm=True)] for lm in both]
    assert fine[0] == fine[1] and any(fine[0])
