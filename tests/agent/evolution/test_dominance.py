from __future__ import annotations

import numpy as np
import optuna
import pytest

from snn4.agent.evolution.dominance import undominated

NAMES = ["return", "spikes", "energy"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_who_is_not_dominated_is_on_optunas_front(number: int) -> None:
    names, random = NAMES[:number], np.random.default_rng(number)
    scores = {place: dict(zip(names, random.integers(0, 9, number) / 1, strict=True)) for place in range(60)}
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"][:number])
    for own in scores.values():
        study.add_trial(optuna.create_trial(values=[*own.values()]))
    fronts = [{tuple(scores[place].values()) for place in undominated(scores)}]
    fronts.append({tuple(trial.values) for trial in study.best_trials})
    assert fronts[0] == fronts[1]
    assert len(undominated(scores)) == len(fronts[0]), "of equals, one"


def test_those_without_scores_are_left_out() -> None:
    assert undominated({3: {}, 4: {"return": 1.0}}) == [4]
    assert undominated({}) == []
