"""Training an unmasking policy on a frozen model with GRPO. Jazbec et al. 2025, arXiv 2512.09106, section 3.

Defaults are the paper's (its table of hyper-parameters and the released configuration) but for what is marked [D]: our
choice. One step of the run is a round: problems, several answers to each, and a few updates.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from unveil.checkpoints.folder import Folder
from unveil.decoding.loading import Loading
from unveil.decoding.model import Model
from unveil.decoding.spec import expand, parse_sampler
from unveil.files import write_json
from unveil.legal import TRAININGS, check_fields
from unveil.objectives.policy import (
    Additive,
    Centred,
    ClippedRatio,
    Multiplicative,
    PerStep,
    PerTrajectory,
    Standardised,
)
from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings
from unveil.policies.policy import PICKS, sampler_of
from unveil.policies.store import load_policy, save_policy
from unveil.sampling.random_picks import PlackettLuce
from unveil.sampling.refresh import CACHES
from unveil.sampling.sampler import Never, Sampler, Selector
from unveil.settings import one_of
from unveil.training.checkpoint import Run
from unveil.training.judge import FunctionJudge, TaskJudge
from unveil.training.rounds import Answering, Imitation, Improvement, Judge, Problems
from unveil.training.session import Session
from unveil.training.settings import WarmStarted
from unveil.training.trainer import settings_of, steps

REWARDS: Mapping[str, Multiplicative | Additive] = MappingProxyType(
    {"multiplicative": Multiplicative(), "additive": Additive()}
)
BASELINES: Mapping[str, Centred] = MappingProxyType({"centred": Centred(), "standardised": Standardised()})
WEIGHTS: Mapping[str, PerTrajectory | PerStep] = MappingProxyType({"trajectory": PerTrajectory(), "step": PerStep()})
# Settings by name, as --set takes them: what differs between the paper's runs. Their alphas are 10, 3, 1, 0.3 and 0.
PRESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "llada-8b-instruct": ("dtype=bfloat16", "block=32"),
        "llada-8b-instruct-full": ("dtype=bfloat16", "block=none"),
        "dream-7b-instruct": ("dtype=bfloat16", "block=32"),
        "dream-7b-instruct-full": ("dtype=bfloat16", "block=none"),
    }
)
UNUSED: Mapping[str, object] = MappingProxyType(
    {"precision": "no", "optimiser": "adamw", "micro_rows": 0, "checkpointing": False}
)


@dataclass(frozen=True, kw_only=True)
class PolicyTraining:
    """Train a policy for `base` on problems of `task`; `reward` (module:function) judges in the task's place.

    Fresh problems of the training split are drawn for each round, or those of the file `data` are used; validation
    problems are never among them. With several `alpha` the policy is told the weight of speed, and one training serves
    them all [D]. The first `warm_rounds` rounds imitate the rules of `warm`, the first ones under the first alpha [D].
    """

    name: ClassVar[str] = "policy"

    base: str  # a shipped model, a folder, or a hub repository
    task: str  # as `unveil evaluate --task` takes it
    reward: str | None = None
    data: str | None = None  # a JSON-lines file in the task's format
    allow_code_execution: bool = False  # whether code that the model wrote may run, in a sandbox: some tasks need it
    revision: str | None = None  # of a hub repository
    dtype: str | None = None  # of the frozen model
    start: str | None = None  # a folder with a policy to go on from
    alpha: tuple[float, ...] = (1.0,)  # weights of speed
    block: int | None = None  # columns denoised at a time; none: the whole canvas
    cache: str = "none"
    warm: str | None = None  # samplers, grids of them too, with ";" between: fast_dllm:threshold=0.9;llada:steps=4|8
    prompts: int = 16  # a round, over all processes
    copies: int = 8  # answers to each
    batch: int = 64  # rows decoded at a time
    updates: int = 2  # from each round's answers
    pick: str = "some_coins"  # [D]: at least one mask is opened; the paper's coin may open none
    speed: str = "multiplicative"  # how speed enters the reward
    baseline: str = "centred"  # of a reward: its group's mean; standardised: over its deviation too
    weights: str = "trajectory"  # what counts the same: trajectory or step
    ratio: float = 0.5  # by how much a decision's probability may move
    chunk: int = 64  # decisions differentiated at a time
    validation: int = 128  # problems [D]
    network: ConfidenceSettings = field(default_factory=ConfidenceSettings)
    training: WarmStarted = field(
        default_factory=lambda: WarmStarted(
            steps=935, lr=3e-5, warmup=50, weight_decay=0.1, betas=(0.9, 0.99), clip=0.2, validate_every=50,
            save_every=10,
        )
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self, TRAININGS)
        if bool(self.training.warm_rounds) != (self.warm is not None):
            given = f"warm={self.warm} and warm_rounds={self.training.warm_rounds}"
            raise ValueError(f"{given} go together: give both or neither")
        if not self.alpha or min(self.alpha) < 0 or len({*self.alpha}) < len(self.alpha):
            raise ValueError(f"alpha={self.alpha} must be different numbers, none negative: 0 is correctness alone")
        for name, value in UNUSED.items():
            if getattr(self.training, name) != value:
                raise ValueError(f"{name}={getattr(self.training, name)} has no effect on a policy: leave it out")
        legal = {"speed": [*REWARDS], "baseline": [*BASELINES], "weights": [*WEIGHTS], "pick": [*PICKS]}
        for name, words in (legal | {"cache": [*CACHES]}).items():
            one_of(name, getattr(self, name), words)
        assert self.objective  # its settings are checked before anything is read
        if self.warm is not None and isinstance(PICKS[self.pick], PlackettLuce):
            raise ValueError("pick=plackett_luce draws sequences, a rule opens sets: warm up with coins, or not at all")

    @property
    def objective(self) -> ClippedRatio:
        """What is minimised."""
        return ClippedRatio(
            baseline=BASELINES[self.baseline], weights=WEIGHTS[self.weights], clip=self.ratio, chunk=self.chunk
        )

    @cached_property
    def problems(self) -> Problems:
        """What is learned from and validated on."""
        return Problems(
            spec=self.task, data=self.data, code=self.allow_code_execution, each=self.prompts,
            num_held_out=self.validation, training=self.training,
        )  # fmt: skip

    @cached_property
    def judge(self) -> Judge:
        """The task's own, or the user's function, tried on a few problems. ValueError as `FunctionJudge.load`."""
        if self.reward is None:
            return TaskJudge(task=self.problems.task)
        return FunctionJudge.load(self.reward, self.problems.held_out[:4])

    def net(self) -> ConfidencePolicy:
        """The policy to start from. ValueError if one that is given is of another kind than asked for."""
        settings = replace(self.network, alpha=len(self.alpha) > 1)
        if self.start is None:
            return ConfidencePolicy(settings, seed=self.training.seed)
        net = cast(ConfidencePolicy, load_policy(self.start))
        if net.settings != settings:
            raise ValueError(f"{self.start} holds a policy with {net.settings}, asked for is one with {settings}")
        return net

    @property
    def teachers(self) -> list[Selector]:
        """The rules to imitate, in the policy's blocks. ValueError for one that does more than unmask."""
        found = []
        for spec in (one for grid in cast(str, self.warm).split(";") for one in expand(grid)):
            sampler = parse_sampler(spec, self.problems.task.num_masks)
            if not (isinstance(sampler.revise, Never) and isinstance(sampler.remask, Never)):
                raise ValueError(f"warm={spec} revises or remasks, a policy only unmasks: take another sampler")
            if sampler.blocks.size is not None:
                raise ValueError(f"warm={spec}: the rule works in the policy's blocks, leave its block out")
            found.append(sampler.unmask)
        if len(found) % len(self.alpha):
            raise ValueError(f"warm={self.warm} is {len(found)} rules for {len(self.alpha)} alphas: give each as many")
        if len(found) > self.prompts:
            raise ValueError(f"warm={self.warm} is {len(found)} rules for {self.prompts} prompts a round: give fewer")
        return found

    def sampler(self, net: nn.Module, pick: str, alpha: float) -> Sampler:
        """How the policy decodes. `max_steps` bounds picks that may open nothing."""
        policy = cast(ConfidencePolicy, net)
        told = alpha if policy.settings.alpha else None
        sampler = sampler_of(policy, block=self.block, alpha=told, pick=pick, cache=self.cache)
        return replace(sampler, max_steps=self.problems.task.num_masks)

    def update(self, session: Session, model: Model) -> Callable[[int], dict[str, float]]:
        """What a round does."""
        sampler = self.sampler(session.model, self.pick, self.alpha[0])
        answering = Answering(
            session=session, model=model, sampler=sampler, num_masks=self.problems.task.num_masks,
            problems=self.problems.round, alphas=self.alpha, batch=self.batch,
        )  # fmt: skip
        improve = Improvement(
            answering=answering, judge=self.judge, objective=self.objective, reward=REWARDS[self.speed],
            copies=self.copies, updates=self.updates,
        )  # fmt: skip
        if self.warm is None:
            return improve
        imitate = Imitation(answering=answering, teachers=self.teachers, chunk=self.chunk)
        return lambda number: imitate(number) if number < self.training.warm_rounds else improve(number)

    def validate(self, net: nn.Module, model: Model) -> dict[str, float]:
        """Accuracy and forwards for each alpha, decoded as users do; "score" is the mean reward."""
        found: dict[str, float] = {}
        rewards = []
        for alpha in self.alpha:
            sampler = self.sampler(net, "coins_or_best", alpha)
            right, forwards, room = self._decoded(model, sampler)
            rewards.append(REWARDS[self.speed](right, forwards, room, torch.tensor([[alpha]])).mean())
            which = f"_{alpha:g}" if len(self.alpha) > 1 else ""
            found |= {f"validation_accuracy{which}": float(right.mean())}
            found |= {f"validation_forwards{which}": float(forwards.double().mean())}
        return found | {"score": float(torch.stack(rewards).mean())}

    def _decoded(self, model: Model, sampler: Sampler) -> tuple[Tensor, Tensor, Tensor]:
        """How right each is, its forwards, its new tokens: one answer to each problem."""
        masks, problems = self.problems.task.num_masks, self.problems.held_out
        asked = [model.asked(one.prompt, one.prefix) for one in problems]
        rows = [model.canvas(one, new_tokens=masks, seed=seed) for seed, one in enumerate(asked)]
        right, forwards = (torch.zeros(len(rows), 1, dtype=kind) for kind in (torch.float64, torch.int64))
        for _, finished in model.stream(rows, sampler, batch=self.batch):
            for number, row in finished:
                answer = model.answer(row)
                right[number] = self.judge(problems[number], answer.text)
                forwards[number] = answer.nfe
        return right, forwards, torch.full_like(forwards, masks)

    def check(self) -> None:
        """ValueError for what is known to be wrong before a large model is loaded."""
        assert Folder.named(self.base, self.revision).config
        assert self.judge and self.net()
        if self.warm is not None:
            assert self.teachers
        self.problems.round(0)


def run(recipe: PolicyTraining, *, out: Path, resume: bool = False) -> Path:
    """Train in the folder `out`; the best policy so far is in `out`/policy, the folder returned.

    Every process of a launch calls it. Raises ValueError as `Run.check`, for settings that do not fit, and for a reward
    function that fails; FloatingPointError for a loss that is not finite. The run can be resumed after all of them.
    """
    best = out / "policy"
    settings = settings_of(recipe)
    Run(folder=out, settings=settings).check(resume)
    recipe.check()
    session = Session.small(recipe.net(), recipe.training, out)
    at = session.accelerator
    model = Loading(revision=recipe.revision, device=str(at.device), dtype=recipe.dtype).model(recipe.base)
    if recipe.prompts < at.num_processes:
        raise ValueError(f"prompts={recipe.prompts} for {at.num_processes} processes: give each at least one")
    held = Run(folder=out, main=session.main, settings=settings)
    steps(
        session,
        recipe.update(session, model),
        held,
        validate=partial(recipe.validate, model=model),
        keep=lambda net: save_policy(cast(ConfidencePolicy, net), best),
        resume=resume,
    )
    if session.main:
        top = max((record for record in held.records() if "score" in record), key=lambda record: record["score"])
        validated = {name: x for name, x in top.items() if name in ("step", "score") or name.startswith("validation")}
        about = {"recipe": "unveil train policy", "revision": model.revision, "validated": validated}
        write_json(best / "card.json", settings | about)
    return best
