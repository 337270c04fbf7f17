"""Weights from which the beings of a life start, instead of being drawn: of another life, or of an agent in a zip."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from snn4.agent.config.file import read as read_config
from snn4.agent.errors import BadInput
from snn4.agent.life.lived import Lived
from snn4.agent.life.organism import TaskMemory
from snn4.agent.models.files import read_weights as read_model
from snn4.agent.run.beings import ORGANISM, name_of
from snn4.learners.algorithms import make_policy
from snn4.learners.sb3_zip import read_weights
from snn4.policies.sb3 import PolicyConfig, trunk_names

if TYPE_CHECKING:
    from snn4.agent.life.being import Being


AGENT = "agent.zip"
"""The agent of a transformation, in its run folder."""
LIFE, NORMALIZATION = "life.yaml", "normalization.json"
"""Of a compressed policy: the config of a life that goes on from it, and the statistics of its observations."""
MODEL = "model.safetensors"
"""The network of a training, in its run folder."""


class Misfit(BadInput):
    """The weights are those of another architecture."""


def start(beings: list[Being], initial: str) -> list[str]:
    """Give each of the new ``beings`` the weights that ``initial`` holds for it, and return notes on those without.

    Of a run folder, a being takes the shared trunk of the being of the same name, and the encoders and heads of the
    tasks of the same names. A zip holds a whole policy for the organism's first task. The network of a training starts
    the encoders of all tasks, that of its ANN twin those of the twin.

    Raises:
        BadInput, BadAgent, CannotGoOn: there are no weights, or they do not fit; the message names the tensors.
    """
    source = Path(initial)
    if not source.exists():
        raise Misfit(f"got {initial!r}, which is missing; allowed is a run folder, or a .zip of a policy")
    if source.is_dir() and (source / AGENT).is_file():
        _require_same_neurons(source, beings[0].config.policy)
        source = source / AGENT
    if not source.is_dir():
        _from_zip(beings[0], source)
        return [f"policy.initial: {name_of(being.name)} starts anew" for being in beings[1:]]
    if (source / MODEL).is_file():
        return [note for being in beings for note in _from_training(being, source)]
    life = Lived.of(source)
    notes: list[str] = []
    for being in beings:
        if being.name in life.states:
            notes += _from_life(being, life)
        elif being.name == ORGANISM:
            raise Misfit(f"{source} has no {name_of(ORGANISM)}")
        else:
            notes.append(f"policy.initial: {name_of(being.name)} starts anew: {source} has none")
    return notes


def _require_same_neurons(folder: Path, policy: PolicyConfig) -> None:
    """Raise Misfit unless ``policy`` has the neurons and steps of the converted or compressed agent in ``folder``."""
    wanted = _compressed(folder) if (folder / LIFE).is_file() else _converted(folder)
    neuron = policy.neuron
    found = {"T": policy.T, "neuron.kind": neuron.kind, "neuron.v_leak": neuron.v_leak, "sparsity": policy.sparsity}
    if wrong := [
        f"policy.{key}: got {found[key]}, allowed is {wanted[key]}" for key in wanted if found[key] != wanted[key]
    ]:
        raise Misfit(f"{folder} was made for other neurons or synapses: {'; '.join(wrong)}")


def _converted(folder: Path) -> dict[str, Any]:
    convert = read_config(folder / "config.yaml")[0]["convert"]
    return {"T": convert["T"], "neuron.kind": convert["neuron"], "neuron.v_leak": convert["v_initial"]}


def _compressed(folder: Path) -> dict[str, Any]:
    policy = read_config(folder / LIFE)[0]["policy"]
    neuron = policy["neuron"]
    return {
        "T": policy["T"], "neuron.kind": neuron["kind"], "neuron.v_leak": neuron["v_leak"],
        "sparsity": policy["sparsity"],
    }  # fmt: skip


def _from_zip(being: Being, source: Path) -> None:
    task = being.world.tasks[0]
    weights = read_weights(source)
    policy = _untrained(being, 0)
    _require_same(str(source), weights, policy)
    names = trunk_names(policy)
    being.organism.trunk = {shared: weights.pop(name) for shared, name in names.items()}
    statistics = source.with_name(NORMALIZATION)
    known = json.loads(statistics.read_text(encoding="utf-8")) if statistics.is_file() else None
    being.organism.tasks[task.name] = TaskMemory(weights, known)


def _from_life(being: Being, life: Lived) -> Iterator[str]:
    before = life.organism(being.name)
    numbers = {task.name: number for number, task in enumerate(being.world.tasks)}
    for name, number in numbers.items():
        policy = _untrained(being, number)
        memory = before.tasks.get(name)
        trunk = {own: before.trunk[shared] for shared, own in trunk_names(policy).items() if shared in before.trunk}
        given = trunk if memory is None else {**memory.parameters, **trunk}
        _require_same(f"{life.folder}, {name_of(being.name)}", given, policy, whole=memory is not None)
        if memory is not None:
            being.organism.tasks[name] = TaskMemory(dict(memory.parameters), memory.normalization)
    being.organism.trunk = dict(before.trunk)
    new = [name for name in numbers if name not in before.tasks]
    if new:
        yield f"policy.initial: {name_of(being.name)} has not met {', '.join(new)}: encoder and head start anew there"


def _from_training(being: Being, source: Path) -> Iterator[str]:
    path = source / {ORGANISM: MODEL}.get(being.name, f"{being.name}.safetensors")
    if not path.is_file():
        yield f"policy.initial: {name_of(being.name)} starts anew: {source} has no {path.name}"
        return
    from snn4.policies.acting.features import NetworkFeatures  # imports all vision networks

    weights = read_model(path)
    for number, task in enumerate(being.world.tasks):
        policy = _untrained(being, number)
        modules = policy.named_modules(remove_duplicate=False)
        encoders = {name: module for name, module in modules if isinstance(module, NetworkFeatures)}
        if not encoders:
            raise Misfit(f"{source} is a training, which starts an encoder; {task.name} has none: set policy.encoder")
        wanted: nn.Module = next(iter(encoders.values())).network
        # All but the readout, which the policy's own head replaces.
        readout = f"network.{len(wanted.network) - 1}."  # type: ignore[arg-type]
        given = {name: x for name, x in weights.items() if not name.startswith(readout)}
        _require_same(str(path), given, wanted)
        parameters = {f"{place}.network.{name}": x for place in encoders for name, x in given.items()}
        being.organism.tasks[task.name] = TaskMemory(parameters)


def _untrained(being: Being, number: int) -> BasePolicy:
    task = being.world.tasks[number]
    env = task.make(1)
    env.close()
    return make_policy(being.config.learner_of(task), task.policy(being.organism.config), env)


def _require_same(source: str, given: dict[str, Tensor], policy: nn.Module, whole: bool = True) -> None:
    """Raise Misfit unless ``given`` has the names and shapes of ``policy``, or of a part of it."""
    wanted = {name: tuple(value.shape) for name, value in policy.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in given.items()}
    wrong = [f"{name} is missing" for name in wanted if whole and name not in found]
    wrong += [f"{name} is not in the policy" for name in found if name not in wanted]
    wrong += [
        f"{name} is {found[name]} there, {wanted[name]} in the policy"
        for name in found
        if name in wanted and found[name] != wanted[name]
    ]
    wrong += [f"{name} holds NaN or infinity" for name, value in given.items() if not torch.isfinite(value).all()]
    if wrong:
        more = f"; and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise Misfit(f"{source} is of another architecture: {'; '.join(wrong[:4])}{more}; set policy as there")
