"""The kinds of runs, with what is their own in the tests of every kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A kind, and what is its own in the stories below."""

    kind: str
    config: str
    """Name of the fixture with a YAML file of a small run."""
    end: str
    """In its last line."""
    endless: str
    """An override that makes it last."""
    wrong: dict[str, str]
    """Overrides, and what is said of them."""
    page: tuple[str, ...]
    """In its report."""
    meaningless: str
    """An option of ``evaluate``."""
    changes: tuple[str, ...] = ()
    tested: bool = True
    """Whether its summary is that of its test, which ``evaluate`` repeats."""


CASES = [
    Case(
        "life", "tiny_yaml", "run finished at 2,048 steps", "world.0.steps=1000000",
        {"policy.T=0": "policy.T: got 0", "policy.tee=1": "policy.tee: unknown key",
         "learner.policy_kwargs={bogus: 1}": "bogus"},
        ("tiny: CartPole-v1, seed 0", "Test, per decision", "Joules per decision"), "--steps",
        ("world.0.steps=1024", "ann_twin=true"),
    ),
    Case(
        "training", "digits_yaml", "run finished at 640 images", "training.epochs=100000",
        {"training.epocs=1": "did you mean epochs?", "training.batch_size=500": "training.batch_size: got 500",
         "network.options={channels: [4, 4, 4, 4, 4]}": "allowed are sides >= 32",
         "data={name: mnist, root: /nowhere, download: false}": "/nowhere",
         "data={name: imagefolder, folder: /nowhere}": "/nowhere",
         "teacher={source: /nowhere}": "/nowhere", "fabric.accelerator=mps": "fabric: "},
        ("tiny-digits: digits", "SNN: training loss", "ANN twin: validation top-1, %", "Confusion"), "--episodes",
    ),
    Case(
        "stream", "stream_yaml", "run finished at", "training.epochs=100000",
        {"strategy.nam=ewc": "did you mean name?", "stream.experiences=20": "experiences: got 20",
         "stream.classes=[[0, 1], [1, 2], [3, 4]]": "class 1 twice",
         "strategy.name=task-gates": "needs task labels; set scenario: task",
         "device=nosuch": "device: got 'nosuch', which torch cannot use here",
         "stream.data={name: mnist, root: /nowhere, download: false}": "/nowhere"},
        ("SNN: accuracy, %", "ANN twin: accuracy, %", "forgetting", "1: 0, 1"), "--steps",
    ),
    Case(
        "transformation", "transformation_yaml", "run finished at 320 images", "finetune.epochs=100000",
        {"convert.method=magic": "convert.method: got 'magic', allowed is 'threshold-balance'",
         "convert.metod=qcfs": "did you mean method?", "convert.burn_in=4": "convert.burn_in: got 4",
         "model.source=/nowhere": "/nowhere: no such file or folder", "model.source=nowhere.pt": "nowhere.pt: no such",
         "model={source: x, colour: red}": "model.colour: unknown key",
         "finetune.T=[[2, 1]]": "finetune.T: not allowed",
         "finetune.gradient=rates": "finetune.gradient: got rates, allowed is surrogate",
         "data={name: mnist, root: /nowhere, download: false}": "/nowhere",
         "data.name=nmnist": "data: got nmnist, allowed are images", "examined=0": "examined: got 0",
         "finetune.batch_size=500": "finetune.batch_size: got 500"},
        ("tiny-snn: ", "below the ANN", "top-1 %", "correlation", "Finetuning", "training loss"), "--episodes",
        tested=False,
    ),
    Case(
        "transformation", "compression_yaml", "run finished at 320 images", "finetune.epochs=100000",
        {"compress.bits=3": "compress.bits: got 3", "compress.prune=0.99": "compress.prune: got 0.99",
         "compress={}": "compress: got nothing to do", "compress.pattern=3": "compress.pattern: got 3",
         "model.source=/nowhere": "/nowhere: no such folder", "environment=CartPole-v1": "environment: got CartPole-v1",
         "compress={pattern: '1:3'}": "pattern: got 1:3, but network.4 has 4 inputs",
         "finetune.batch_size=500": "finetune.batch_size: got 500"},
        ("tiny-small: ", "Before and after", "top-1 %", "synapses", "Recovery", "learning rate"), "--episodes",
        tested=False,
    ),
    Case(
        "evolution", "evolution_yaml", "run finished at", "search.generations=100000",
        {"search.generations=0": "search.generations: got 0", "search.population=1": "search.population: got 1",
         "search.sampler=luck": "search.sampler: got 'luck'", "search.genes=[policy.size]": "got 'policy.size'",
         "search.ranges={policy.T: [4, 1]}": "search.ranges.policy.T: got [4, 1]", "subject.policy.T=0": "got 0",
         "subject.polcy=1": "subject.polcy: unknown key; did you mean policy?",
         "subject.kind=dream": "subject.kind: got 'dream'", "subject.kind=evolution": "subject.kind: got evolution",
         "subject.evolution={population: 2, trial: 8}": "subject.evolution: not allowed",
         "search.storage=sqlite:////nowhere/x.db": "search.storage: got sqlite:////nowhere/x.db"},
        ("tiny-evolution: evolution of tiny, seed 0", "Front, on validation data", "Chosen genes", "Lineage",
         "Importance of genes"),
        "--episodes",
    ),
    Case("toy", "toy_yaml", "run finished at 400 steps", "numbers=10000000", {"numbers=x": "numbers: got 'x'"},
         ("toy", "mean"), "--data"),
]  # fmt: skip
