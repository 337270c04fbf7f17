"""The command ``compress`` for classifiers, and what is done with the run folders that it makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import events_in, only, read

from snn4.agent import kinds
from snn4.agent.models.files import read_about
from snn4.agent.models.sources import open_model
from snn4.agent.run.events import Evaluated
from snn4.agent.run.work import OneProcess
from snn4.policies.compression.learning import synapses
from snn4.policies.compression.pruning import sparse_layers
from snn4.policies.networks.classifier import SpikingClassifier

Cli = Callable[..., Any]
SMALL = ("data.limit=160", "examined=60", "threads=1")


def network_in(folder: Path) -> SpikingClassifier:
    network, _ = open_model(str(folder / "model.safetensors"))
    assert isinstance(network, SpikingClassifier)
    return network


def steps(weight: torch.Tensor) -> int:
    """The number of different sizes of weights in the row with most of them."""
    rows = weight.detach().abs().flatten(1)
    return max(len(torch.unique((row / row.max().clamp(min=1e-9) * 1e4).round())) for row in rows)


def test_a_classifier_becomes_smaller(compressed: Path, trained: Path) -> None:
    """It is an ordinary network with half of the channels, on its grid, and its row says so."""
    before, after = network_in(trained), network_in(compressed)
    assert (before.config.channels, after.config.channels) == ((4, 8), (2, 4))  # type: ignore[attr-defined]
    assert (after.config.sparsity, len(sparse_layers(after))) == (0.3, 1)
    assert all(steps(layer.weight) <= 8 for layer in synapses(after))  # type: ignore[arg-type]
    about = read_about(compressed / "model.safetensors")
    assert about["quantization"] == {"bits": 4, "scale": "channel", "power_of_two": False}
    rows = read(compressed / "summary.json")["comparison"]
    sizes = [sum(p.numel() for p in network.parameters()) for network in (before, after)]
    assert [rows[name]["parameters"] for name in ("before", "after")] == sizes
    assert (rows["before"]["bits"], rows["after"]["bits"]) == (32, 4)
    assert rows["after"]["bytes"] < rows["before"]["bytes"] / 4
    assert rows["after"]["effective_macs"] < rows["before"]["effective_macs"]
    original, _ = open_model(str(trained / "model.safetensors"))
    kept, _ = open_model(str(compressed / "original.safetensors"))
    assert all(torch.equal(x, kept.state_dict()[name]) for name, x in original.state_dict().items())


def test_both_are_tested(cli: Cli, compressed: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = cli("evaluate", compressed, "--report", page)
    assert result.status == 0
    for part in ("before and after compression", "top-1 %", "test: accuracy, and cost per decision", "test data that"):
        assert part in result.out
    assert "Before and after" in page.read_text()


def test_it_learns_on(cli: Cli, compressed: Path, digits_yaml: Path, tmp_path: Path) -> None:
    """A training starts from its weights; what is absent stays absent."""
    changes = (f"initial={compressed}", "network=null", "ann_twin=false", "training.epochs=1")
    result = cli("run", digits_yaml, *changes, "--runs-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    before, after = network_in(compressed), network_in(only(tmp_path))
    for name, layer in sparse_layers(before).items():
        assert torch.equal(layer.mask, sparse_layers(after)[name].mask)


def test_it_is_compressed_again(cli: Cli, compressed: Path, tmp_path: Path) -> None:
    result = cli("compress", compressed, "--shrink", "0.5", "--no-recover", *SMALL, "--runs-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    after = network_in(only(tmp_path))
    assert (after.config.channels, after.config.sparsity) == ((1, 2), 0.3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("bits", [8, 2])
def test_without_recovery(cli: Cli, trained: Path, tmp_path: Path, bits: int) -> None:
    arguments = ("--bits", str(bits), "--no-recover", "--power-of-two", "--scale", "layer")
    result = cli("compress", trained, *arguments, *SMALL, "--runs-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    for part in (f"Weights of {bits} bits, with power-of-two scales per layer.", "Without recovery."):
        assert part in result.out
    folder = only(tmp_path)
    before, after = network_in(trained), network_in(folder)
    for one, other in zip(synapses(before), synapses(after), strict=True):
        assert other.weight.unique().numel() <= 2**bits - 1  # type: ignore[operator, union-attr]
        assert (one.weight - other.weight).norm() < one.weight.norm()  # type: ignore[operator, union-attr]
    assert [event.part for event in events_in(folder) if isinstance(event, Evaluated)] == ["validation"]


def test_a_conversion_has_fewer_synapses_and_bits(cli: Cli, converted: Path, tmp_path: Path) -> None:
    arguments = ("--pattern", "2:4", "--bits", "8", "--epochs", "1", "finetune.batch_size=32")
    result = cli("compress", converted, *arguments, *SMALL, "--runs-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    layers = sparse_layers(network_in(only(tmp_path)))
    assert layers
    for layer in layers.values():
        groups = (layer.weight.abs() > 1e-30).transpose(1, -1).unflatten(-1, (-1, 4)).sum(-1)
        assert (groups <= 2).all()
    refused = cli("compress", converted, "--shrink", "0.5", *SMALL, "--runs-dir", tmp_path / "none")
    assert (refused.status, refused.out) == (2, "")
    assert "shrink: got 0.5 for a graph network, allowed are vgg" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere", "--bits", "8"], "/nowhere: no such folder; allowed is that of a life, training"),
        (["zoo:nothing", "--bits", "8"], "zoo:nothing: no such model; shipped are"),
        (["{trained}"], "compress: got nothing to do"),
        (["{trained}", "--bits", "5"], "compress.bits: got 5, allowed"),
        (["{trained}", "--prune", "1"], "compress.prune: got 1"),
        (["{trained}", "--prune", "0.5", "--pattern", "2:4"], "allowed is one of them"),
        (["{empty}", "--bits", "8"], "has no model.safetensors; allowed is what has trained at least once"),
        (["{trained}", "--bits", "8", "model.architecture=resnet-20-a"], "model.architecture: got resnet-20-a"),
    ],
)
def test_bad_input(cli: Cli, trained: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.yaml").write_text((trained / "config.yaml").read_text())
    given = [argument.format(trained=trained, empty=empty) for argument in arguments]
    result = cli("compress", *given, "--runs-dir", tmp_path / "runs")
    assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1), result.err
    assert message in result.err
    assert not (tmp_path / "runs").exists()


def test_the_command_finds_data_and_recipe(trained: Path) -> None:
    from snn4.agent.command_configs import compression_of

    kind, config = compression_of(str(trained), {"compress.shrink": 0.5}, [*SMALL, "finetune.batch_size=32"])
    assert (config.data.name, config.data.augmentation, config.distillation) == ("digits", "crop", 0.5)
    work = kind.prepare(config, OneProcess())
    assert work.tasks == [{"environment": "digits", "steps": 5 * 5 * 32}]
    assert kinds.named("transformation").about(config) == {"data": "digits", "model": str(trained)}
