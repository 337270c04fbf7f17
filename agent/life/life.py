"""The life of an organism: from the first task to the comparison with its ANN twin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from snn4.agent.evaluation.episodes import Evaluator, Interrupted
from snn4.agent.evolution.objectives import require_spikes
from snn4.agent.life.being import Being
from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.teachers import Teachers
from snn4.agent.run.beings import ANN_TWIN, ORGANISM, RELU_TWIN
from snn4.agent.run.events import Compared, Evaluated, Event, Measure, Score, Task
from snn4.agent.run.work import File, Pause, State, Stop
from snn4.policies.allocation import keep_freed_memory
from snn4.policies.gene import genome

if TYPE_CHECKING:
    from snn4.agent.evolution.config import EvolutionConfig
    from snn4.agent.life.sleep import Sleep


class Life:
    """The organism lives through its world and is tested; then its ANN twin does the same; then both are compared.

    Args:
        config: a checked config.
    """

    unit = "steps"
    measure: Measure = "return"

    def live(self, stop: Stop) -> Iterator[Event | Pause | File]:
        """The whole story, from the state set by `load_state`."""
        self._prepare_torch()
        try:
            yield from self._lives(stop)
        except Interrupted:  # during an evaluation
            yield Pause()
        finally:
            if self.sleep is not None:
                self.sleep.workers.close()

    def validated(self, stop: Stop) -> dict[str, Score] | None:
        """See `snn4.agent.run.work.Validated`: the last best validation; tests use the same weights."""
        self._prepare_torch()
        being, scores = self.beings[0], dict[str, Score]()
        try:
            for event in self._live_through_world(being, stop):
                if isinstance(event, Evaluated) and event.best:
                    scores = event.scores
        except Interrupted:
            return None
        if being.learner is not None:  # it was stopped
            return None
        if self.config.policy.kind == "spiking":
            require_spikes(scores)
        return scores

    def _prepare_torch(self) -> None:
        torch.set_num_threads(self.config.threads or 1)
        keep_freed_memory()

    def _lives(self, stop: Stop) -> Iterator[Event | Pause | File]:
        for being in self.beings:
            if being.scores:
                continue
            yield from self._live_through_world(being, stop)
            if stop():
                return
            yield from being.test(self.config.evaluation.test_episodes, stop)
            yield Pause()
        if self.config.ann_twin:
            yield Compared(*(being.scores for being in self.beings[:2]))

    def _live_through_world(self, being: Being, stop: Stop) -> Iterator[Event | Pause | File]:
        for task in being.world.remaining():
            yield from being.take_up(task, stop)
            while being.owes_validation or being.step < task.steps:
                if self.sleep is not None and self._is_due(self.sleep, being, task):
                    yield from self.sleep.live(being, task, stop)
                elif not being.owes_validation:
                    yield from being.learn(task, self._until(being, task), stop)
                if being.owes_validation:
                    yield from being.validate(task, stop)
                yield Pause()
                if stop():
                    return
            being.finish(task)

    def _until(self, being: Being, task: LifeTask) -> int:
        """Step of ``task`` up to which ``being`` learns: to a validation, or to its sleep."""
        every = self.config.evaluation.every
        until = min(task.steps, (being.step // every + 1) * every)
        if self.sleep is None or being.name != ORGANISM or (next_step := self.sleep.next_step(being, task)) is None:
            return until
        return min(until, next_step)

    def _is_due(self, sleep: Sleep, being: Being, task: LifeTask) -> bool:
        """Whether it is time to sleep, or to sleep on."""
        if being.name != ORGANISM or being.owes_validation:
            return False
        next_step = sleep.next_step(being, task)
        return sleep.generation is not None or (next_step is not None and being.step >= next_step)

    def __init__(self, config: LifeConfig) -> None:
        self.config = config
        self.notes: list[str] = []
        self.teachers = Teachers(config)
        self.sleep = None if config.evolution is None else _sleep(config, config.evolution)
        evaluator = Evaluator(config.evaluation.max_episode_steps)
        self.beings = [Being(name, config, policy, evaluator, self.teachers) for name, policy in config.beings.items()]

    def problems(self) -> list[str]:
        """What evolution needs and cannot reach, one line each."""
        if self.config.evolution is None:
            return []
        from snn4.agent.evolution.database import problems

        return list(problems(self.config.evolution, "evolution"))

    @property
    def tasks(self) -> list[Task]:
        return [{"environment": task.label, "steps": task.steps} for task in self.config.world]

    @property
    def genome(self) -> dict[str, Any]:
        return {**genome(self.config.policy, "policy."), **genome(self.config.learner, "learner.")}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The teachers: the config says everything about environments."""
        return self.teachers.fingerprint

    @property
    def age(self) -> int:
        """Environment steps that all beings have lived."""
        return sum(being.organism.age for being in self.beings)

    @property
    def finished(self) -> bool:
        """Whether all beings have lived to the end and were tested."""
        return all(being.scores for being in self.beings)

    def state(self) -> State:
        """Everything but the config."""
        sleep = {} if self.sleep is None else {"sleep": self.sleep.state()}
        tasks = [state for being in self.beings if (state := being.task_state()) is not None]
        return {
            "model": {"beings": [being.state() for being in self.beings]},
            "learner": {"task": tasks[0] if tasks else None, **sleep},
        }

    def load_state(self, state: State) -> None:
        """Continue from ``state``, also one of version 0.1."""
        self.notes.clear()  # they tell how the run begins
        task = state["learner"]["task"]
        if self.sleep is not None:
            self.sleep.load_state(state["learner"]["sleep"])
        for being, saved in zip(self.beings, state["model"]["beings"], strict=True):
            lives = task is not None and not saved["scores"]
            being.load_state(saved, task if lives else None)
            if lives:
                task = None

    def summary(self) -> dict[str, Any]:
        """The tests and, after several tasks, the retention of each."""
        scores = {being.name: being.scores for being in self.beings}
        summary: dict[str, Any] = {"tasks": scores[ORGANISM], ANN_TWIN: scores.get(ANN_TWIN, {})}
        if self.config.relu_twin:
            summary[RELU_TWIN] = scores[RELU_TWIN]
        if len(self.config.world) > 1:
            summary["retention"] = {being.name: being.retention() for being in self.beings}
        if self.sleep is not None:
            summary["evolution"] = self.sleep.summary(self.beings[0])
        if layers := self.beings[0].decisions(DECISIONS):
            summary["decisions"] = {"task": self.config.world[-1].label, "number": DECISIONS, "layers": layers}
        return summary


DECISIONS = 20
"""Decisions whose spikes a report shows."""


def _sleep(config: LifeConfig, evolution: EvolutionConfig) -> Sleep:
    from snn4.agent.life.sleep import Sleep  # imports Optuna, which takes half a second

    return Sleep(config, evolution)
