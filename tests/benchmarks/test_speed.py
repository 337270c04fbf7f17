from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from snn4.benchmarks import gpu
from snn4.benchmarks.acting import act_conv, act_mlp
from snn4.benchmarks.cli import app
from snn4.benchmarks.peers import PEERS, ann_net, layer_runs, snn4_net
from snn4.benchmarks.speed import MissingPeers, Row, _judge_training, speed, table
from snn4.benchmarks.spikformer_peer import SpikingJellySpikformer, spikformer_config
from snn4.policies.networks.spikformer import Spikformer


@pytest.mark.parametrize("name", PEERS)
def test_peers_are_networks_of_the_same_layers(name: str) -> None:
    pytest.importorskip(name)
    peer, net = PEERS[name](3), snn4_net(3)
    x = torch.randn(2, 3, 32, 32)
    assert peer(x).shape == net(x).shape == (2, 10)
    assert sorted(p.shape for p in peer.parameters()) == sorted(p.shape for p in net.parameters())


@torch.no_grad()
@pytest.mark.parametrize("side", [8, 32])
def test_spikformer_of_a_peer_computes_the_same_scores(side: int) -> None:
    pytest.importorskip("spikingjelly")
    torch.manual_seed(0)
    config = spikformer_config(3, "spikformer-tiny")
    net, peer = Spikformer(config).double(), SpikingJellySpikformer(config).double()
    x = torch.randn(2, 3, side, side).double()  # 4 tokens, or 64
    for source, target in zip(net.parameters(), peer.parameters(), strict=True):
        target.copy_(source)
    scores = net(x)
    assert scores.std() > 0.01
    torch.testing.assert_close(peer(x), scores)


def test_layers_of_peers_spike_alike() -> None:
    x = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    rates = {name: run().mean().item() for name, run in layer_runs(x).items()}
    assert rates["snn4"] > 0
    for name in rates.keys() - {"norse"}:  # its current is scaled by 1 - decay
        assert rates[name] == pytest.approx(rates["snn4"], abs=0.05), name


def test_twin_learns_from_the_same_step() -> None:
    net, x = ann_net(4), torch.randn(2, 3, 32, 32)
    F.cross_entropy(net(x), torch.tensor([0, 1])).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.slow
def test_decisions_are_timed() -> None:
    times = act_mlp(1, 1)
    assert set(times) == {"snn4 deployed", "snn4 predict", "sb3 forward", "sb3 actor", "sb3 predict"}
    measured = act_conv(4, 1)
    assert 0.5 < measured["sparsity"] < 1
    assert set(measured["times"]) >= {"snn4", "ann"}


def test_training_is_judged_with_and_without_the_memory_setting() -> None:
    default = {"snn4": [9.0, 9.0], "snntorch": [10.0, 10.0], "norse": [12.0, 12.0], "spikingjelly": [18.0, 18.0]}
    with_setting = {"snn4": [2.0, 2.0], "snntorch": [8.0, 8.0], "norse": [6.0, 6.0], "spikingjelly": [9.0, 9.0]}
    (row,) = _judge_training("", {"snn4": 3.0})([default, with_setting])
    assert (row.against, row.ratio["median"], row.reached) == ("norse", 3.0, True)
    assert row.default_malloc is not None
    assert row.default_malloc["median"] == pytest.approx(10 / 9)
    assert row.as_it_comes is not None
    assert row.as_it_comes["median"] == pytest.approx(10 / 2)


def test_table_says_what_was_missed() -> None:
    ratio = {"median": 1.5, "low": 1.0, "high": 2.0}
    row = Row("x", "y", ratio, 2.0)
    printed = table([{**vars(row), "reached": row.reached}])
    assert "1.50 (1.00-2.00)" in printed
    assert "(missed)" in printed


def test_command_prints_json_with_its_origin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("snn4.benchmarks.speed.PEERS", {})  # these sections need none
    measured = list[str]()
    monkeypatch.setattr("snn4.benchmarks.speed._section", lambda name, *_, **__: measured.append(name) or _CONV)
    command = ["bench", "speed", "--only", "act conv", "--json", "--results-dir", str(tmp_path)]
    for options, sections in (([], 2), ([], 2), (["--fresh"], 4), (["--rounds", "3"], 6)):
        run = CliRunner().invoke(app, [*command, *options])
        assert run.exit_code == 0
        result = json.loads(run.stdout)
        assert [row["reached"] for row in result["rows"]] == [True, True]
        assert "machine" in result
        assert len(measured) == sections
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["act-conv-T=2.json", "act-conv-T=4.json"]


def test_an_interrupted_command_says_where_it_continues(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("snn4.benchmarks.speed.PEERS", {})  # these sections need none

    def section(name: str, *_: Any, **__: Any) -> Any:
        if name == "act conv T=2":
            raise KeyboardInterrupt
        return _CONV

    monkeypatch.setattr("snn4.benchmarks.speed._section", section)
    run = CliRunner().invoke(app, ["bench", "speed", "--only", "act conv", "--results-dir", str(tmp_path)])
    assert run.exit_code != 0
    assert f"interrupted; finished sections are in {tmp_path}/speed, and the same command continues" in run.stderr
    assert [path.name for path in tmp_path.rglob("*.json")] == ["act-conv-T=4.json"]


_CONV = {"sparsity": 0.95, "times": {"snn4": [1.0], "ann": [2.0], "ann folded": [1.5]}}


def test_missing_peers_and_unknown_sections_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = set(PEERS) - {"norse"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name in installed else None)
    with pytest.raises(MissingPeers, match=r"^norse: not installed; pip install 'snn4-agent\[peers\]'"):
        speed(1, "", tmp_path)
    installed.add("norse")
    with pytest.raises(MissingPeers, match=r"got 'spam', allowed is a part of one of: train layer,"):
        speed(1, "spam", tmp_path)


def test_rounds_must_be_positive() -> None:
    assert CliRunner().invoke(app, ["bench", "speed", "--rounds", "0"]).exit_code == 2


@pytest.mark.slow
def test_the_sections_of_a_gpu_run_on_a_cpu_too() -> None:
    """So that they are ready for one; peers' back ends that need a GPU are left out."""
    pytest.importorskip("spikingjelly")
    layer = gpu.train_layer(1, "cpu", (2, 2, 4))
    assert set(layer) >= {"snn4", "spikingjelly"}
    net = gpu.train_conv(2, 1, "cpu", images=2)
    assert set(net) >= {"snn4", "snn4 bf16", "spikingjelly"}
    assert not any(name.endswith(gpu.BACKENDS) for name in (*layer, *net))


def test_devices(tmp_path: Path) -> None:
    with pytest.raises(MissingPeers, match="--device: got tpu, allowed are cpu, cuda"):
        speed(1, "", tmp_path, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(MissingPeers, match="got cuda, but torch sees no GPU; allowed here is cpu"):
            speed(1, "", tmp_path, device="cuda")
