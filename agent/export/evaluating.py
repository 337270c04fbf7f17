"""``evaluate --engine loihi``: the test of a run as the chip would do it, beside the same test in float."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from rich.console import Console, Group, RenderableType
from rich.text import Text

from snn4.agent import kinds
from snn4.agent.evaluation.accuracy import Recognizer, recognize
from snn4.agent.evaluation.episodes import TEST_SEED, EvaluationConfig, Evaluator, evaluation, normalized, play
from snn4.agent.evaluation.indicators import Indicators, meter, spread
from snn4.agent.evaluation.shown import InOrder
from snn4.agent.export.integers import data_of, integers_of, require_images
from snn4.agent.export.on_chip import OnChip, spikes_of
from snn4.agent.export.source import ClassifierSource, PolicySource, open_source
from snn4.agent.life.initial import LIFE
from snn4.agent.life.page import score_rows
from snn4.agent.models.files import ModelError
from snn4.agent.run.journal import CONFIG, RUN, commit_of
from snn4.agent.run.provenance import commit
from snn4.agent.show.classifier_page import indicator_rows
from snn4.agent.show.tables import Fitting
from snn4.agent.show.text import percent
from snn4.learners.generators import result_of
from snn4.policies.export.chip_activity import ChipActivity
from snn4.policies.export.integer_network import IntegerNetwork

Summary = dict[str, Any]
FLOAT, LOIHI = "float", "loihi"
METERED = 512
"""Images whose operations are counted."""


def evaluate_on(
    engine: str | None, run: str, bits: int | None, options: Mapping[str, Any], as_json: bool = False
) -> None:
    """Test ``run`` in Loihi's integers and in float, and print both with their agreement.

    Args:
        engine: loihi.
        bits: of a weight; None is 8.
        options: of the command; None for those that were not given.

    Raises:
        ModelError: it cannot run on the chip, or an option is not for this engine or not for its kind.
    """
    if engine != LOIHI:
        raise ModelError(
            "--bits: needs --engine loihi" if engine is None else f"--engine: got {engine}, allowed is {LOIHI}"
        )
    source = open_source(run)
    allowed = "episodes" if isinstance(source, PolicySource) else "root"
    given = {name: value for name, value in options.items() if value is not None}
    if wrong := [f"--{name}" for name in given if name != allowed]:
        raise ModelError(f"{run}: {', '.join(wrong)}: not allowed with --engine {LOIHI}; allowed is --{allowed}")
    if isinstance(source, PolicySource):
        summary = evaluated_policy(source, bits or 8, _settings(source, **given))
    else:
        data = dataclasses.replace(source.data, **given)
        summary = evaluated_classifier(dataclasses.replace(source, data=data), bits or 8)
    code = commit_of(source.folder) if (source.folder / RUN).is_file() else commit()
    if as_json:
        print(json.dumps({**summary, **code}, indent=2))
    else:
        Console().print(tables(summary))


def _settings(source: PolicySource, episodes: int | None = None) -> EvaluationConfig:
    compressed = (source.folder / LIFE).is_file()  # the test is that of the life from which it comes
    _, config = kinds.load(source.folder / (LIFE if compressed else CONFIG))
    changes = {} if episodes is None else {"test_episodes": episodes}
    return dataclasses.replace(config.evaluation, **changes)  # type: ignore[no-any-return]


def evaluated_policy(source: PolicySource, bits: int, settings: EvaluationConfig) -> Summary:
    """Test episodes of the same seeds, played by the chip and by the policy in float."""
    evaluator = Evaluator(settings.max_episode_steps)
    network = integers_of(source, bits, evaluator)
    chip = OnChip(source, network)
    env = evaluator.environment(source.task, settings.test_episodes)
    in_float = result_of(evaluation(source.policy, env, settings.test_episodes, TEST_SEED, source.normalization))
    seen = normalized(env, source.normalization)
    seen.seed(TEST_SEED)
    with torch.random.fork_rng():
        torch.manual_seed(TEST_SEED)  # for codes with random spikes
        played = result_of(play(chip, seen, settings.test_episodes, lambda: False))
    returns = [episode.episode_return for episode in played]
    row = {
        "return_mean": float(np.mean(returns)), "return_std": float(np.std(returns)), "episodes": len(returns),
        **chip.activity.costs(),
    }  # fmt: skip
    return _summary(source.name, network, {FLOAT: in_float, LOIHI: row}, chip.activity, {"task": source.task.name})


def evaluated_classifier(source: ClassifierSource, bits: int) -> Summary:
    """The test data, recognised by the chip and in float."""
    network, data = integers_of(source, bits), data_of(source)
    batches = InOrder(data.test, 100)
    recognition = recognize(source.network, batches, len(data.classes))
    activity, right, in_five = ChipActivity(network), 0, 0
    for x, labels in batches:
        run = network.run(require_images(source, x.numpy()))
        trains, scores = spikes_of(source.network, x)
        activity.add(run, trains, (run.scores.argmax(1) == scores.argmax(1).numpy()).astype(float))
        order = np.argsort(-run.scores, 1, kind="stable")
        right += int((order[:, 0] == labels.numpy()).sum())
        in_five += int((order[:, :5] == labels.numpy()[:, None]).sum())
    cost = meter(Recognizer(source.network), spread(batches, len(data.test), METERED))
    in_float = Indicators("SNN", "fp32", recognition.steps, recognition, cost, cost.bytes).to_json()
    row = {
        "name": "Loihi", "precision": f"int{bits}", "top1_accuracy": right / len(data.test),
        "top5_accuracy": in_five / len(data.test) if len(data.classes) > 5 else None, "latency": [],
        "latency_steps": network.window, **activity.costs(), "parameters": network.parameters,
        "bytes": network.parameters * bits // 8,
    }  # fmt: skip
    return _summary(source.name, network, {FLOAT: in_float, LOIHI: row}, activity, {"data": source.data.name})


def _summary(
    name: str, network: IntegerNetwork, rows: dict[str, Summary], activity: ChipActivity, about: dict[str, str]
) -> Summary:
    return {
        "name": name, "engine": LOIHI, "bits": network.bits, "T": network.T, "steps_per_decision": network.window,
        **about, "rows": rows, "agreement": activity.agreement(), "saturated": activity.saturated,
    }  # fmt: skip


def tables(summary: Summary) -> RenderableType:
    """Both tests in the table of ``evaluate``, and the agreement of the chip with float below it."""
    about = summary.get("task", summary.get("data"))
    chip = f"Loihi, {summary['bits']} bits"
    if "task" in summary:
        rows = score_rows({"tasks": {FLOAT: summary["rows"][FLOAT], chip: summary["rows"][LOIHI]}})
        rows = [["", *rows[0][1:]], *([name, *row[1:]] for name, row in zip((FLOAT, chip), rows[1:], strict=True))]
        forms = [rows, [row[:-1] for row in rows]]
    else:
        rows = indicator_rows({"indicators": list(summary["rows"].values())})
        forms = [rows, [list(column) for column in zip(*rows, strict=True)]]
    table = Fitting(f"{summary['name']}, {about}: test, per decision", *forms, framed="task" in summary)
    return Group(table, *map(Text, _lines(summary)))


def _lines(summary: Summary) -> Iterator[str]:
    agreement = summary["agreement"]
    layers = ", ".join(f"{name} {percent(share)}" for name, share in agreement["spikes"].items())
    yield f"as in float, %: decisions {percent(agreement['decisions'])}; spikes {layers}"
    steps = summary["steps_per_decision"]
    yield f"{agreement['compared']:,} decisions, of {steps} steps of the chip each; ACs count the synapses of the chip"
    if number := summary["saturated"]:
        yield f"{number:,} decisions reached the end of the readout's range, and their scores are wrong"
