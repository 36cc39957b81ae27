"""Training a policy: resumed or on two processes it is the same training; a round learns what its answers say."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

import unveil
from tests.training import rounds
from tests.training.folder import TEMPLATE, model_folder
from tests.training.rounds import HERE, recipe
from tests.training.test_processes import launch
from unveil.decoding.loading import Loading
from unveil.files import read_jsonl
from unveil.objectives.policy import has_signal
from unveil.policies.confidence import ConfidencePolicy
from unveil.policies.store import load_policy, save_policy
from unveil.sampling.picks import Quota, Threshold, Within
from unveil.sampling.sampler import Select
from unveil.tasks import task
from unveil.training.policy import PolicyTraining, run
from unveil.training.rollout import learned_select, roll_out
from unveil.training.rounds import Imitation, Improvement, judged
from unveil.training.session import Session
from unveil.training.settings import Training, WarmStarted

WARM = WarmStarted(steps=3, warm_rounds=1)
TIMES = ("decode_seconds", "update_seconds")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return rounds.model(tmp_path_factory.mktemp("tiny"))


def state(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "state.safetensors")


def metrics(out: Path) -> list[dict[str, Any]]:
    return [{k: x for k, x in row.items() if k not in TIMES} for row in read_jsonl(out / "metrics.jsonl")]


def opened(made: PolicyTraining, out: Path) -> tuple[Session, Improvement | Imitation]:
    """What a run has in memory before its first round."""
    session = Session.small(made.net(), made.training, out)
    update = made.update(session, unveil.load(made.base, dtype=made.dtype))
    assert isinstance(update, Improvement | Imitation)
    return session, update


@pytest.fixture(scope="module")
def alone(base: Path) -> Path:
    """Three rounds in one process."""
    out = base.parent / "alone"
    run(recipe(base), out=out)
    assert len(metrics(out)) == 3
    return out


def test_training_changes_the_policy(alone: Path, base: Path) -> None:
    fresh = recipe(base).net().state_dict()
    assert any((fresh[name.removeprefix("model.")] != x).any() for name, x in state(alone).items() if "model." in name)
    assert any(row["signal"] > 0 and row["norm"] > 0 for row in metrics(alone))


def test_a_resumed_training_equals_an_uninterrupted_one(
    alone: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's function raises in the second round, is mended, and the run goes on."""
    calls, works = [], rounds.variety

    def breaks(problem: Any, text: str) -> float:
        calls.append(text)
        if len(calls) > 8 + 12:  # tried at the start, then one round
            raise KeyError("no such thing")
        return works(problem, text)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "variety", breaks)
        with pytest.raises(ValueError, match=r"(?s)reward .*:variety, problem .*KeyError: 'no such thing'"):
            run(recipe(base), out=tmp_path)
    assert len(metrics(tmp_path)) == 1
    run(recipe(base), out=tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(alone)
    mine, theirs = state(tmp_path), state(alone)
    assert mine.keys() == theirs.keys() and all((mine[name] == theirs[name]).all() for name in mine)


def assert_two_equal(alone: Path, out: Path, *settings: str) -> None:
    launch(2, out, module=HERE, settings=[*settings])
    for mine, theirs in zip(metrics(out), metrics(alone), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9)
    one, two = state(alone), state(out)
    assert all((one[name] - two[name]).abs().max() < 1e-10 for name in one)


@pytest.mark.slow
def test_two_processes_equal_one(alone: Path, base: Path) -> None:
    """Also where one of them has no group with signal, which is so in some round."""
    assert_two_equal(alone, base.parent / "two")


@pytest.mark.slow
def test_two_processes_imitate_as_one(base: Path) -> None:
    """Each problem is answered by the same rule whoever asks."""
    settings = ["warm=fast_dllm:threshold=0.9|0.05", "warm_rounds=2", "warm_lr=0.02"]
    run(recipe(base, *settings), out=base.parent / "warm")
    assert_two_equal(base.parent / "warm", base.parent / "warm-two", *settings)


def test_in_some_round_a_process_of_two_has_no_signal(base: Path) -> None:
    """What the test before this one needs to be strong."""
    _, update = opened(recipe(base), base.parent / "none")
    assert isinstance(update, Improvement)
    at = update.answering
    asked = at.asked(0)
    signal = has_signal(judged(at.model, update.judge, asked.problems, at.answered(asked, 3)))
    assert signal[0::2].any() != signal[1::2].any()


def test_a_round_is_the_gradient_of_its_answers(base: Path) -> None:
    """One update is a step of plain gradient descent on - sum of weight * advantage * log-probability."""
    made = recipe(base, "updates=1")
    session, update = opened(made, base.parent / "none")
    assert isinstance(update, Improvement)
    at, net = update.answering, session.model
    asked = at.asked(0)
    rollouts = at.answered(asked, 3)
    correct = judged(at.model, update.judge, asked.problems, rollouts)
    rewards = correct * (19 - rollouts.nfe + 1) / 19  # alpha 1
    centred = rewards - rewards.mean(1, keepdim=True)
    numbers = rollouts.decisions.rollout
    log_probs = rollouts.decisions.log_probs(learned_select(at.sampler))
    length = numbers.bincount()[numbers]
    (-(centred.flatten()[numbers] * log_probs / length).sum() / 12).backward()
    expected = {name: x.grad.clone() for name, x in net.named_parameters() if x.grad is not None}
    net.zero_grad()
    seen = {}
    object.__setattr__(session.optimisers[0], "step", lambda: seen.update(_gradients(net)))
    record = update(0)
    factor = min(1.0, 1.0 / record["norm"]) if record["norm"] > 1 else 1.0  # clipped to 1
    assert seen.keys() == expected.keys()
    for name, grad in expected.items():
        assert torch.allclose(seen[name], factor * grad, rtol=1e-9, atol=1e-15), name
    assert record["reward"] == pytest.approx(float(rewards.mean()))
    assert record["accuracy"] == pytest.approx(float(correct.mean()))
    assert record["forwards"] == pytest.approx(float(rollouts.nfe.double().mean()))


def _gradients(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: x.grad.clone() for name, x in net.named_parameters() if x.grad is not None}


def test_without_signal_nothing_changes(base: Path, tmp_path: Path) -> None:
    """Momentum and weight decay neither."""
    made = recipe(base, reward=f"{HERE}:nothing")
    run(made, out=tmp_path)
    fresh = made.net().state_dict()
    kept = state(tmp_path)
    assert all((kept[f"model.{name}"] == x).all() for name, x in fresh.items())
    assert all(row["signal"] == 0 and row["norm"] == 0 for row in metrics(tmp_path))


def test_a_warm_start_learns_the_rule(base: Path, tmp_path: Path) -> None:
    """What the rule chooses becomes ever more probable; the rounds after it are answered by the policy."""
    warm = ["warm=fast_dllm:threshold=0.5", "warm_rounds=40", "warm_lr=0.02"]
    made = recipe(base, *warm, "steps=42", "validate_every=42")
    run(made, out=tmp_path)
    rows = metrics(tmp_path)
    assert [("imitation" in row, "reward" in row) for row in rows] == [(True, False)] * 40 + [(False, True)] * 2
    first, last = (sum(row["imitation"] for row in some) for some in (rows[:5], rows[35:40]))
    assert last < 0.7 * first
    assert [row["lr"] for row in rows[::20]] == pytest.approx([0.02, 0.01, 0.05])


def test_imitation_is_the_likelihood_of_the_rules_choices(base: Path) -> None:
    """Of the problems every second is answered by one rule, the others by the other; every answer counts the same."""
    made = recipe(base, "warm=fast_dllm:threshold=0.9|0.05", "warm_rounds=1")
    session = Session.small(made.net(), made.training, base.parent / "none")
    rule = Imitation(answering=_answering(made, session), teachers=made.teachers, chunk=5)
    at, asked = rule.answering, rule.answering.asked(1)
    means, forwards = [], []
    for number, teacher in enumerate(made.teachers):
        told = at.answered(asked.some(range(number, 4, 2)), 1, teacher)
        plain = replace(at.sampler, unmask=teacher)
        pairs = zip(asked.problems[number::2], asked.seeds[number::2], strict=True)
        rows = [at.model.canvas(problem.prompt, new_tokens=19, seed=seed) for problem, seed in pairs]
        alone = [plain.decode(at.model.denoiser, row) for row in rows]
        assert all((a.tokens == b.tokens).all() for a, b in zip(told.finished, alone, strict=True))
        forwards.append([int(row.nfe) for row in told.finished])
        assert forwards[-1] == [int(row.nfe) for row in alone]
        log_probs = at.log_probs(told.decisions).detach()
        means += [log_probs[told.decisions.rollout == place].mean() for place in range(2)]
    assert sum(forwards[0]) > sum(forwards[1])  # or the rules are one
    assert rule(1)["imitation"] == pytest.approx(-float(torch.stack(means).mean()))


def test_rules_are_written_one_by_one_or_as_grids(base: Path) -> None:
    made = recipe(base, "warm=llada:steps=2;fast_dllm:threshold=0.9,within=3|4", "warm_rounds=1")
    bounded = [Select(pick=Within(pick=Threshold(bar=0.9), steps=steps)) for steps in (3, 4)]
    assert made.teachers == [Select(pick=Quota(steps=2)), *bounded]


def test_reinforcement_has_the_rates_of_a_training_of_its_own() -> None:
    warm = WarmStarted(steps=10, lr=0.5, warmup=2, warm_rounds=4, warm_lr=0.1)
    plain = Training(steps=6, lr=0.5, warmup=2)
    assert [warm.rate(step) for step in range(4)] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert [warm.rate(step) for step in range(4, 10)] == [plain.rate(step) for step in range(6)]


def test_every_alpha_has_rules_of_its_own(base: Path) -> None:
    made = recipe(base, "alpha=3,1", "prompts=8", "warm=fast_dllm:threshold=0.9|0.8|0.2|0.1", "warm_rounds=1")
    session = Session.small(made.net(), made.training, base.parent / "none")
    rule = Imitation(answering=_answering(made, session), teachers=made.teachers)
    for number in range(2):
        alphas = rule.answering.asked(number).alphas
        found = Counter((alpha, rule.rule(place, alpha)) for place, alpha in enumerate(alphas))
        assert found == {(3, 0): 2, (3, 1): 2, (1, 2): 2, (1, 3): 2}


def _answering(made: PolicyTraining, session: Session) -> Any:
    cold = replace(made, warm=None, training=replace(made.training, warm_rounds=0))
    update = cold.update(session, unveil.load(made.base, dtype="float64"))
    assert isinstance(update, Improvement)
    return update.answering


def test_with_several_alphas_the_policy_is_told(base: Path, tmp_path: Path) -> None:
    made = recipe(base, "alpha=0.5,4,1", "steps=1")
    _, update = opened(made, tmp_path)
    assert isinstance(update, Improvement)
    turns = [update.answering.asked(number).alphas for number in range(3)]
    assert turns == [[0.5, 4, 1, 0.5], [4, 1, 0.5, 4], [1, 0.5, 4, 1]]
    asked = update.answering.asked(1)
    decisions = update.answering.answered(asked, 2).decisions
    told = decisions.seen.alpha.tolist()
    assert told == [asked.alphas[int(number) // 2] for number in decisions.rollout]
    best = run(made, out=tmp_path / "run")
    assert load_policy(best).settings.alpha
    last = metrics(tmp_path / "run")[-1]
    assert {f"validation_accuracy_{alpha:g}" for alpha in made.alpha} < last.keys()


def test_validation_decodes_as_users_do(base: Path, alone: Path, tmp_path: Path) -> None:
    made = recipe(base)
    best = load_policy(alone / "policy")
    model = unveil.load(base, dtype="float64")
    found = made.validate(best, model)
    kept = max((row for row in metrics(alone) if "score" in row), key=lambda row: row["score"])
    assert found == {name: kept[name] for name in found}
    prompts = [problem.prompt for problem in made.problems.held_out]
    answers = model.decode(prompts, f"policy:path={alone / 'policy'}", new_tokens=19)
    right = [rounds.variety(*pair) for pair in zip(made.problems.held_out, (a.text for a in answers), strict=True)]
    assert found["validation_accuracy"] == pytest.approx(sum(right) / 3)
    assert found["validation_forwards"] == pytest.approx(sum(a.nfe for a in answers) / 3)
    card = json.loads((alone / "policy" / "card.json").read_text())
    assert card["validated"] == found | {"step": kept["step"]}
    assert card["task"] == "sudoku" and card["reward"] == made.reward and card["revision"] == model.revision


def test_a_model_with_a_template_is_asked_in_chats(tmp_path: Path) -> None:
    """In rollouts and in validation, as it is in evaluation."""
    base = model_folder(tmp_path / "model", template=TEMPLATE, layers=1, width=16, head_width=8, feed_width=32)
    made, model = recipe(base), unveil.load(base, dtype="float64")
    _, update = opened(made, tmp_path / "none")
    asked = update.answering.asked(0)
    rows = update.answering.answered(asked, 1).finished
    given = [row.tokens[0, : int(row.start)].tolist() for row in rows]
    assert given == [model.ids(model.asked(problem.prompt, problem.prefix)) for problem in asked.problems]
    assert given[0] == model.tokenizer.encode(f"<user>{asked.problems[0].prompt.strip()}[EOS]<assistant>")
    problems, net = made.problems.held_out, made.net()
    answers = model.decode([model.asked(one.prompt) for one in problems], made.sampler(net, "coins_or_best", 1.0))
    right = [rounds.variety(one, answer.text) for one, answer in zip(problems, answers, strict=True)]
    assert made.validate(net, model)["validation_accuracy"] == pytest.approx(sum(right) / len(right))


def test_processes_share_the_problems_of_a_round(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is answered once, whatever the number of processes, with the same seed and alpha; never with old noise."""
    made = recipe(base, "alpha=1,2,3")
    _, update = opened(made, base.parent / "none")
    assert isinstance(update, Improvement)

    def asked(number: int, rank: int, count: int) -> list[tuple[str, int, float]]:
        monkeypatch.setattr(Accelerator, "process_index", rank)
        monkeypatch.setattr(Accelerator, "num_processes", count)
        share = update.answering.asked(number)
        prompts = [problem.prompt for problem in share.problems]
        return list(zip(prompts, share.seeds, share.alphas, strict=True))

    whole = [asked(number, 0, 1) for number in range(3)]
    for number, alone in enumerate(whole):
        assert sorted(asked(number, 0, 3) + asked(number, 1, 3) + asked(number, 2, 3)) == sorted(alone)
    assert len({seed for alone in whole for _, seed, _ in alone}) == 12


def test_every_update_is_made(base: Path) -> None:
    session, update = opened(recipe(base, "updates=3"), base.parent / "none")
    steps = []
    object.__setattr__(session.optimisers[0], "step", lambda: steps.append(1))
    update(0)
    assert len(steps) == 3


def test_problems_are_fresh_and_never_those_of_validation(base: Path) -> None:
    made = recipe(base)
    prompts = [problem.prompt for number in range(20) for problem in made.problems.round(number)]
    assert len({*prompts}) > 75 and not {*prompts} & {problem.prompt for problem in made.problems.held_out}
    assert made.problems.round(3) == recipe(base).problems.round(3) != made.problems.round(4)


def test_a_file_is_read_once_an_epoch(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "puzzles.jsonl"
    all_of_them = task("sudoku").generate(13, 5)
    file.write_text("".join(json.dumps({"input": p.prompt.removesuffix("=\n").strip()}) + "\n" for p in all_of_them))
    made = recipe(base, data=str(file))
    held = {problem.prompt for problem in made.problems.held_out}
    seen = Counter(problem.prompt for number in range(5) for problem in made.problems.round(number))
    assert len(held) == 3 and len(seen) == 10 and {*seen.values()} == {2} and not held & seen.keys()
    with pytest.raises(ValueError, match="has 13 problems, a round takes 11 beside 3 for validation: set fewer"):
        recipe(base, "prompts=11", data=str(file)).problems.round(0)


def test_training_goes_on_from_a_policy(base: Path, alone: Path, tmp_path: Path) -> None:
    made = recipe(base, start=str(alone / "policy"))
    mine, theirs = made.net().state_dict(), load_policy(alone / "policy").state_dict()
    assert all((mine[name] == theirs[name]).all() for name in theirs)
    other = ConfidencePolicy(replace(made.network, top=2))
    save_policy(other, tmp_path)
    with pytest.raises(ValueError, match="holds a policy with .*top=2.*asked for is one with .*top=1"):
        recipe(base, start=str(tmp_path)).net()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("prompts=0", "prompts=0 is outside its range, from 1 to 1,048,576"),
        ("block=0", "block=0 is outside its range, from 1 to 65,536: leave it out for the whole canvas"),
        ("copies=1", "copies=1 is outside its range, from 2 to 65,536: a group needs at least 2 answers"),
        ("warm_rounds=3", "warm=None and warm_rounds=3 go together"),
        ("warm_rounds=4", "warm_rounds=4 is outside 0..3, the rounds there are"),
        ("warm_lr=0", "warm_lr=0.0 is outside its range, above 0 to 1,000"),
        ("warm=llada", "warm=llada and warm_rounds=0 go together"),
        ("alpha=1,1", "must be different numbers, none negative"),
        ("alpha=-1", r"alpha=\(-1.0,\) is outside its range, from 0 to 1,000,000"),
        ("precision=bf16", "precision=bf16 has no effect on a policy: leave it out"),
        ("optimiser=muon", "optimiser=muon has no effect"),
        ("micro_rows=2", "micro_rows=2 has no effect"),
        ("speed=fast", "speed='fast' is unknown: choose one of multiplicative, additive"),
        ("pick=best", "pick='best' is unknown"),
        ("ratio=0", "ratio=0.0 is outside its range, above 0 to 1,000"),
        ("warm=llada warm_rounds=1 pick=plackett_luce", "draws sequences, a rule opens sets"),
    ],
)
def test_bad_settings_are_refused(base: Path, settings: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        recipe(base, *settings.split())


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"task": "sodoku"}, "unknown task 'sodoku': did you mean 'sudoku'"),
        ({"reward": "nowhere:f"}, "there is no module 'nowhere'"),
        ({"base": "no-such-model"}, "no-such-model"),
        ({"warm": "remdm", "training": WARM}, "revises or remasks, a policy only unmasks"),
        ({"warm": "llada:block=4,steps=5", "training": WARM}, "leave its block out"),
        ({"warm": "llada:steps=1|2|4", "alpha": (1.0, 2.0), "training": WARM}, "is 3 rules for 2 alphas: give each as"),
        ({"warm": "llada:steps=1|2|3|4|5", "training": WARM}, "is 5 rules for 4 prompts a round: give fewer"),
        ({"start": "nowhere"}, "nowhere has no policy.json"),
    ],
)
def test_what_cannot_work_is_known_before_the_model_is_loaded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], fault: str
) -> None:
    monkeypatch.setattr(Loading, "model", lambda *_, **__: 1 / 0)
    with pytest.raises(ValueError, match=fault):
        run(replace(recipe(base), **parts), out=tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_a_teacher_decides_and_the_policy_looks_on(base: Path) -> None:
    """A rule that needs less than the policy; what the policy needs is computed all the same."""
    made = recipe(base, "entropy=true", "top=3")
    _, update = opened(made, base.parent / "none")
    assert isinstance(update, Improvement)
    at = update.answering
    rows = [at.model.canvas(p.prompt, new_tokens=19, seed=s) for s, p in enumerate(made.problems.round(0))]
    rule = Select(pick=Threshold(bar=0.5))
    told = roll_out(at.sampler, at.model.denoiser, rows, copies=1, batch=2, teacher=rule)
    assert told.decisions.seen.features.shape[2] == 4 and (told.decisions.log_prob == 0).all()
    assert (told.decisions.chosen <= told.decisions.eligible).all()
