from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from snn4.agent.evolution.config import EvolutionConfig
from snn4.agent.evolution.lineage import Lineage, mirror
from snn4.policies.gene import Choice, Gene, Locus

PARENT = {"T": 4, "tau": 0.02, "kind": "lif"}


def loci(genes: Mapping[str, Any]) -> dict[str, Locus]:
    found = {
        "T": Locus(Gene(1, 16, log=True), genes.get("T", 4)),
        "tau": Locus(Gene(2e-3, 0.1, log=True), genes.get("tau", 0.02)),
        "kind": Locus(Choice(("lif", "alif")), genes.get("kind", "lif")),
    }
    adapts = {"adaptation": Locus(Gene(0.0, 2.0), genes.get("adaptation", 0.2))}
    return found | (adapts if genes.get("kind") == "alif" else {})


def generations(lineage: Lineage, number: int, first: int = 0) -> list[dict[int, dict[str, Any]]]:
    """Proposals that were all tested; the return is best at T = 2."""
    made = []
    for generation in range(first, first + number):
        proposed = lineage.propose(4, PARENT, loci, generation)
        for trial, genes in proposed.items():
            lineage.tell(trial, {"return": -abs(genes["T"] - 2.0), "synaptic_operations": 10.0 * genes["T"]})
        made.append(proposed)
    return made


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_a_lineage_goes_on_from_its_state_as_if_it_had_not_been_interrupted(sampler: Any) -> None:
    config = EvolutionConfig(population=4, sampler=sampler)
    whole = generations(Lineage(config, 3), 4)
    first, rest = Lineage(config, 3), Lineage(config, 3)
    begun = generations(first, 2)
    rest.load_state(first.state())
    assert begun + generations(rest, 2, first=2) == whole
    assert generations(Lineage(config, 4), 1) != whole[:1]


def test_the_first_candidate_has_its_parents_genes_and_all_have_genes_of_their_kind() -> None:
    proposed = [
        genes for round in generations(Lineage(EvolutionConfig(population=4), 0), 6) for genes in round.values()
    ]
    assert proposed[::4] == [PARENT] * 6
    assert all(genes.keys() == loci(genes).keys() for genes in proposed)
    assert {genes["kind"] for genes in proposed} == {"lif", "alif"}
    assert all(isinstance(genes["T"], int) and 1 <= genes["T"] <= 16 for genes in proposed)


def test_mutants_differ_from_their_parent_in_some_genes() -> None:
    _, mutant, *_ = Lineage(EvolutionConfig(population=4), 1).propose(4, PARENT, loci, 0).values()
    assert mutant != PARENT
    assert any(mutant[name] == PARENT[name] for name in PARENT)


def test_genes_that_do_not_fit_together_are_proposed_again_and_at_last_refused() -> None:
    def only_short(genes: Mapping[str, Any]) -> dict[str, Locus]:
        if genes.get("T", 1) > 4:
            raise ValueError("T: got more than 4")
        return loci(genes)

    lineage = Lineage(EvolutionConfig(population=4, sampler="random"), 0)
    assert all(genes["T"] <= 4 for genes in lineage.propose(4, PARENT, only_short, 0).values())

    def none(genes: Mapping[str, Any]) -> dict[str, Locus]:
        if genes:
            raise ValueError("nothing fits")
        return loci(genes)

    with pytest.raises(ValueError, match="found none that fit together in 20 tries"):
        lineage.propose(1, PARENT, none, 1)


def test_evolution_finds_what_is_better() -> None:
    lineage = Lineage(EvolutionConfig(population=4), 0)
    assert generations(lineage, 8)
    assert any(trial.params["T"] == 2 for trial in lineage.study.best_trials)


def test_other_readers_find_the_lineage_in_a_database(tmp_path: Path) -> None:
    lineage, url = Lineage(EvolutionConfig(population=4), 0), f"sqlite:///{tmp_path / 'evolution.db'}"
    generations(lineage, 1)
    behind = lineage.state()
    generations(lineage, 1, first=1)
    mirror(lineage.study, url, "life")
    there = optuna.load_study(study_name="life", storage=url)
    assert [trial.params for trial in there.trials] == [trial.params for trial in lineage.study.trials]
    assert there.metric_names == ["return", "synaptic_operations"]
    before = Lineage(EvolutionConfig(population=4), 0)  # a life that goes on from an earlier checkpoint
    before.load_state(behind)
    mirror(before.study, url, "life")
    assert len(optuna.load_study(study_name="life", storage=url).trials) == 4
    mirror(before.study, url, "life")
    assert len(optuna.load_study(study_name="life", storage=url).trials) == 4
    with sqlite3.connect(tmp_path / "evolution.db") as connection:
        assert connection.execute("select count(*) from studies").fetchone() == (1,)
