"""The lineage: every candidate that evolution has proposed, in an Optuna study, which proposes the next ones."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.samplers import BaseSampler, CmaEsSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from snn4.agent.evolution.config import SearchConfig
from snn4.agent.evolution.dominance import undominated
from snn4.agent.evolution.objectives import maximised
from snn4.policies.gene import Choice, Locus

optuna.logging.set_verbosity(logging.WARNING)

Genes = dict[str, Any]
Loci = Callable[[Genes], Mapping[str, Locus]]
"""The genes of the config with given values: a neuron of another kind has others. ValueError if they do not fit."""

TRIES = 20
"""Proposals of a candidate until its genes fit together."""
CHANGED = 3.0
"""Genes that a mutant changes, in the mean."""
REACH = 0.25
"""Standard deviation of the change of a number, as a fraction of its range."""


class Lineage:
    """Proposes candidates and remembers them.

    Args:
        config: sampler and objectives.
        seed: of the run.
    """

    def __init__(self, config: SearchConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.study = self._study()

    def propose(self, size: int, parent: Genes, loci: Loci, generation: int, again: bool = True) -> dict[int, Genes]:
        """``size`` candidates by number. The first has the ``parent``'s genes, unless they need not be tried ``again``.
        Unless the search is random, half of the others are mutants of it and of those that no other one beats, in turn.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)  # Optuna 5 has another way to set constraints, 4 has not
            self.study.sampler = self._sampler(generation)
        random = np.random.default_rng([self.seed, generation])
        if again:
            self.study.enqueue_trial(parent)
        best = self._unbeaten()
        for number in range(0 if self.config.sampler == "random" else (size - again) // 2):
            base = best[random.integers(len(best))] if number % 2 and best else parent
            self.study.enqueue_trial(mutated(base, loci, random))
        return dict(self._fitting(loci, generation) for _ in range(size))

    def _unbeaten(self) -> list[Genes]:
        """The genes of the candidates of all generations that no other one beats, however little they are worth: they
        hold both ends of the front, from which the preferred ones may be reached."""
        names, tested = self.config.objectives, {t.number: t for t in self.study.trials if t.values is not None}
        scores = {number: dict(zip(names, trial.values, strict=True)) for number, trial in tested.items()}
        return [tested[number].user_attrs["genes"] for number in undominated(scores)]

    def _fitting(self, loci: Loci, generation: int) -> tuple[int, Genes]:
        for _ in range(TRIES):
            trial = self.study.ask()
            try:
                genes = suggested(trial, loci)
            except ValueError as error:
                trial.set_user_attr("stopped", f"does not fit: {error}")
                self.study.tell(trial, state=TrialState.FAIL)
                continue
            if isinstance(self.study.sampler, NSGAIISampler):  # which does not count enqueued trials by itself
                self.study.sampler.get_trial_generation(self.study, self.study.trials[trial.number])
            trial.set_user_attr("generation", generation)
            trial.set_user_attr("genes", genes)
            return trial.number, genes
        raise ValueError(f"genes: found none that fit together in {TRIES} tries; name fewer genes")

    def tell(self, number: int, values: Mapping[str, float] | None, **about: Any) -> None:
        """Report the means of a candidate by objective, or None if it was stopped without them."""
        finite = values is not None and all(map(math.isfinite, values.values()))
        listed = [values[name] for name in self.config.objectives] if values is not None and finite else None
        storage = self.study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        for name, value in about.items():
            storage.set_trial_user_attr(trial_id, name, value)
        self.study.tell(number, listed, TrialState.COMPLETE if finite else TrialState.FAIL)

    def tested(self) -> list[dict[str, Any]]:
        """Generation and objectives of each candidate that was not stopped without them, in order."""
        names = self.config.objectives
        return [
            {"generation": trial.user_attrs["generation"], **dict(zip(names, trial.values, strict=True))}
            for trial in self.study.trials
            if trial.state == TrialState.COMPLETE
        ]

    def state(self) -> list[dict[str, Any]]:
        """All candidates as plain data."""
        return [_plain(trial) for trial in self.study.trials]

    def load_state(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Continue from ``state``."""
        self.study = self._study()
        self.study.add_trials([_frozen(entry) for entry in state])

    def _study(self) -> Study:
        up, down = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
        directions = [up if maximised(name) else down for name in self.config.objectives]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(directions=directions)
            study.set_metric_names(list(self.config.objectives))
        return study

    def _sampler(self, generation: int) -> BaseSampler:
        """A new one for each generation, so that it draws the same after a resume."""
        seed = int(np.random.SeedSequence([self.seed, generation, 1]).generate_state(1)[0])
        match self.config.sampler:
            case "nsga2":
                return NSGAIISampler(population_size=self.config.population, seed=seed, constraints_func=_violation)
            case "tpe":
                return TPESampler(seed=seed, n_startup_trials=self.config.population)
            case "cmaes":
                return CmaEsSampler(seed=seed)
            case _:
                return RandomSampler(seed=seed)


def _violation(trial: FrozenTrial) -> tuple[float]:
    """How far the value of a candidate is below the margin of the preference; parents are chosen among those above."""
    return (float(trial.user_attrs.get("violation", 0.0)),)


def suggested(trial: Trial, loci: Loci) -> Genes:
    """The genes that ``trial`` proposes; those of a kind follow once the kind is known."""
    genes: Genes = {}
    while missing := {name: locus for name, locus in loci(genes).items() if name not in genes}:
        for name, locus in missing.items():
            genes[name] = _suggested(trial, name, locus)
    return genes


def _suggested(trial: Trial, name: str, locus: Locus) -> Any:
    gene = locus.gene
    if isinstance(gene, Choice):
        return trial.suggest_categorical(name, gene.values)
    if locus.whole:
        return trial.suggest_int(name, int(gene.low), int(gene.high), log=gene.log)
    return trial.suggest_float(name, gene.low, gene.high, log=gene.log)


def mutated(parent: Genes, loci: Loci, random: np.random.Generator) -> Genes:
    """``parent`` with a few other values, at least one."""
    known = loci(parent)
    names = sorted(known)
    changes = random.random(len(names)) < min(CHANGED / len(names), 0.5)
    changes[random.integers(len(names))] = True
    return {**parent, **{name: _mutant(known[name], random) for name in np.array(names)[changes].tolist()}}


def _mutant(locus: Locus, random: np.random.Generator) -> Any:
    gene = locus.gene
    if isinstance(gene, Choice):
        return str(random.choice([word for word in gene.values if word != locus.value] or [locus.value]))
    low, high, value = ((math.log(x) if gene.log else float(x)) for x in (gene.low, gene.high, locus.value))
    moved = float(np.clip(value + random.normal(0, REACH * (high - low)), low, high))
    moved = math.exp(moved) if gene.log else moved
    number: float = min(max(moved, gene.low), gene.high)
    if not locus.whole:
        return number
    return round(number) if round(number) != locus.value else int(locus.value) + (1 if locus.value < gene.high else -1)


def mirror(study: Study, url: str, name: str) -> None:
    """Bring the study ``name`` in the database at ``url`` up to date, for optuna-dashboard and other readers.

    Trials there that ``study`` does not have were told after the checkpoint from which a life went on: the study there
    is then written anew. Raises what SQLAlchemy and Optuna raise.
    """
    storage = optuna.storages.RDBStorage(url, engine_kwargs=_engine(url))
    directions = study.directions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        there = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        written = there.trials
        finished = [trial for trial in study.trials if trial.state.is_finished()]
        if [_key(trial) for trial in written] != [_key(trial) for trial in finished[: len(written)]]:
            optuna.delete_study(study_name=name, storage=storage)
            there = optuna.create_study(storage=storage, study_name=name, directions=directions)
            written = []
        there.set_metric_names(study.metric_names or [])
        there.add_trials(finished[len(written) :])
    storage.remove_session()
    storage.engine.dispose()


def unreachable(url: str) -> str | None:
    """Why there is no database at ``url``; None if there is one, or one can be made."""
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs=_engine(url))
    except (SQLAlchemyError, ArgumentError, OSError, ImportError, ValueError) as error:
        return " ".join(str(error.__cause__ or error).split())
    storage.engine.dispose()
    return None


def _engine(url: str) -> dict[str, Any]:
    """A database that does not answer is given up after a few seconds."""
    return {"connect_args": {"timeout": 10} if url.startswith("sqlite") else {"connect_timeout": 5}}


def _key(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.params, trial.values, trial.state, trial.user_attrs.get("generation")


def _plain(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": {name: distribution_to_json(space) for name, space in trial.distributions.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "started": trial.datetime_start.isoformat() if trial.datetime_start else None,
    }


def _frozen(entry: Mapping[str, Any]) -> FrozenTrial:
    distributions: dict[str, BaseDistribution] = {
        name: json_to_distribution(space) for name, space in entry["distributions"].items()
    }
    trial = create_trial(
        state=TrialState[entry["state"]], values=entry["values"], params=entry["params"],
        distributions=distributions, user_attrs=entry["user_attrs"], system_attrs=entry["system_attrs"],
    )  # fmt: skip
    if entry["started"]:
        trial.datetime_start = datetime.fromisoformat(entry["started"])
        if trial.datetime_complete:
            trial.datetime_complete = max(trial.datetime_complete, trial.datetime_start + timedelta())
    return trial
