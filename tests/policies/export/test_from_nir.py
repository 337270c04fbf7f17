"""NIR graphs of other programs become networks with the same spikes; what has no counterpart here is named."""

from __future__ import annotations

import contextlib
import io
import itertools
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from nir_graphs import DT, euler

from snn4.policies.export.describing import describe_classifier
from snn4.policies.export.from_nir import from_nir
from snn4.policies.export.nir_neurons import NotImportable

RNG = np.random.default_rng(0)


def affine(n_out: int, n_in: int, scale: float = 3.0) -> Any:
    return nir.Affine(RNG.normal(0, scale, (n_out, n_in)), RNG.normal(0, scale / 4, n_out))


def conv(n_out: int, n_in: int, side: int, kernel: tuple[int, int] = (3, 3), **options: Any) -> Any:
    settings: dict[str, Any] = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, **options}
    weight = RNG.normal(0, 2, (n_out, n_in // settings["groups"], *kernel))
    return nir.Conv2d(input_shape=(side, side), weight=weight, bias=RNG.normal(0, 0.5, n_out), **settings)


def pool(kind: Any, size: int = 2) -> Any:
    return kind(np.array([size, size]), np.array([size, size]), np.array([0, 0]))


def lif(*shape: int, kind: Any = nir.LIF, **fields: Any) -> Any:
    """Neurons of decay 0.9; fields may be arrays."""
    taus = {"tau": DT / 0.1} if kind in (nir.LIF, nir.LI) else {"tau_mem": DT / 0.1, "tau_syn": DT / 0.4}
    ends = {"v_threshold": 1.0, "v_reset": 0.0} if kind is not nir.LI else {}
    values = {**(taus if kind is not nir.IF else {}), "r": 1.0, **ends}
    values |= {"v_leak": 0.0} if kind is not nir.IF else {}
    values |= {"w_in": 1.0} if kind is nir.CubaLIF else {}
    return kind(**{key: np.broadcast_to(value, shape).astype(float) for key, value in {**values, **fields}.items()})


def graph(shape: tuple[int, ...], *nodes: Any, edges: list[tuple[str, str]] | None = None) -> Any:
    """A sequence of nodes n0, n1, …, or nodes with other ``edges``."""
    named = {f"n{number}": node for number, node in enumerate(nodes)}
    names = ["input", *named, "output"]
    ends = {"input": nir.Input(np.array(shape)), "output": nir.Output(np.array([3]))}
    return nir.NIRGraph({**ends, **named}, edges or list(itertools.pairwise(names)), type_check=False)


def spread(*shape: int) -> Any:
    return RNG.uniform(0.5, 2.0, shape)


GRAPHS = {
    "one unit for all": lambda: graph((5,), affine(8, 5), lif(8), affine(6, 8), lif(6, r=10), affine(3, 6)),
    "thresholds that differ": lambda: graph(
        (5,), affine(8, 5), lif(8, v_threshold=(th := spread(8)), v_reset=-0.2 * th), affine(3, 8)
    ),
    "time constants that differ": lambda: graph((5,), affine(8, 5), lif(8, tau=spread(8) * 1e-3), affine(3, 8)),
    "layers that differ": lambda: graph(
        (5,), affine(8, 5), lif(8, tau=5e-4), affine(6, 8), lif(6, tau=2e-3, v_threshold=0.5), affine(3, 6)
    ),
    "kinds that differ": lambda: graph(
        (5,), affine(8, 5), lif(8, kind=nir.IF), affine(6, 8), lif(6, kind=nir.CubaLIF, r=10.0, w_in=2.0), affine(3, 6)
    ),
    "currents": lambda: graph((5,), affine(8, 5), lif(8, kind=nir.CubaLIF, r=spread(8) * 9, w_in=2.0), affine(3, 8)),
    "spikes at the end": lambda: graph((5,), nir.Linear(RNG.normal(0, 9, (3, 5))), lif(3)),
    "leaky integrators": lambda: graph((5,), affine(8, 5, 9), lif(8), affine(3, 8), lif(3, kind=nir.LI, v_leak=0.1)),
    "no synapses before neurons": lambda: graph((5,), lif(5, r=12, v_leak=0.2), affine(3, 5)),
    "no synapses, and thresholds that differ": lambda: graph((5,), lif(5, r=12, v_threshold=spread(5)), affine(3, 5)),
    "scaled values": lambda: graph((5,), nir.Scale(spread(5)), affine(8, 5, 9), lif(8), affine(3, 8)),
    "shortcut": lambda: graph(
        (5,), affine(8, 5, 9), lif(8), affine(8, 8, 9), lif(8), affine(3, 8),
        edges=[("input", "n0"), ("n0", "n1"), ("n1", "n2"), ("n2", "n3"), ("n3", "n4"), ("n1", "n4"), ("n4", "output")],
    ),
    "images": lambda: graph(
        (2, 6, 6), conv(4, 2, 6), lif(4, 6, 6, tau=spread(4, 1, 1) * 1e-3), pool(nir.SumPool2d),
        conv(4, 4, 3, (3, 1), groups=2, padding=(1, 0)), lif(4, 3, 3, v_threshold=spread(4, 1, 1)),
        nir.Flatten(np.array([4, 3, 3]), 0, -1), affine(3, 36),
    ),
    "pooled currents": lambda: graph(
        (2, 6, 6), conv(4, 2, 6), pool(nir.SumPool2d, 3), lif(4, 2, 2), pool(nir.AvgPool2d),
        nir.Flatten(np.array([4, 1, 1]), 0, -1), affine(3, 4),
    ),
    "pooled spikes into neurons": lambda: graph(
        (2, 6, 6), conv(4, 2, 6), lif(4, 6, 6), pool(nir.SumPool2d, 3),
        lif(4, 2, 2, r=3.0, v_threshold=spread(4, 1, 1)), nir.Flatten(np.array([4, 2, 2]), 0, -1), affine(3, 16),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_a_network_has_the_outputs_of_its_graph(name: str, tmp_path: Path) -> None:
    made = GRAPHS[name]()
    nir.write(tmp_path / "g.nir", made)
    network = from_nir(tmp_path / "g.nir", T=30)
    shape = tuple(made.nodes["input"].input_type["input"])
    signal = np.random.default_rng(1).random((30, 4, *shape)).astype(np.float32)
    images = torch.from_numpy(signal).reshape(30, 4, *(shape if len(shape) == 3 else (1, 1, *shape)))
    with torch.no_grad():
        outputs = network.run(images)[0].numpy()
    expected = np.stack([euler(made, signal[:, sample]) for sample in range(4)], 1)
    assert expected.std() > 0.05
    assert np.isclose(outputs, expected, atol=1e-3).mean() > 0.995  # a sum in float32 may move a spike


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_snntorch_is_read() -> None:
    snntorch = pytest.importorskip("snntorch")
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    hard = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    layers = [
        torch.nn.Linear(5, 12), snntorch.Leaky(beta=torch.full((12,), 0.9), threshold=torch.ones(12), **hard),
        torch.nn.Linear(12, 3), snntorch.Leaky(beta=torch.full((3,), 0.8), threshold=torch.full((3,), 0.7), **hard),
    ]  # fmt: skip
    network = torch.nn.Sequential(*layers)
    layers[0].weight.data *= 3
    layers[2].weight.data *= 3
    signal = torch.rand(50, 4, 5)
    with contextlib.redirect_stdout(io.StringIO()):
        imported = from_nir(export_to_nir(network, signal[0, 0]), T=50)
    layers[1].reset_mem()
    layers[3].reset_mem()
    with torch.no_grad():
        expected = torch.stack([network(x) for x in signal])
        outputs, _ = imported.run(signal[:, :, None, None])
    assert (outputs == expected).float().mean() > 0.995
    assert 0.05 < expected.mean() < 0.95
    torch.testing.assert_close(imported.network[0].layers["2"].weight, layers[2].weight)


def test_an_imported_network_has_a_description() -> None:
    description = describe_classifier(from_nir(GRAPHS["layers that differ"](), T=4))
    taus = [layer.part.config.tau_mem for layer in description.neurons()]  # type: ignore[union-attr]
    assert taus[0] < taus[1]


CYCLE = [("input", "n0"), ("n0", "n1"), ("n1", "output")]
BROKEN = {
    "the spiking recurrence n1 -> n2 -> n1, allowed are networks without": lambda: graph(
        (5,), affine(3, 5), lif(3), affine(3, 3), edges=[*CYCLE, ("n1", "n2"), ("n2", "n1")]
    ),
    "the cycle n1 -> n2 -> n1 without spiking neurons": lambda: graph(
        (5,), affine(3, 5), affine(3, 3), affine(3, 3), edges=[*CYCLE, ("n1", "n2"), ("n2", "n1")]
    ),
    "n1: got Threshold": lambda: graph((5,), affine(3, 5), nir.Threshold(np.ones(3))),
    "n1: got inputs of shape (3,), allowed is (4,)": lambda: graph((5,), affine(3, 5), lif(4)),
    "n1: got inputs of shape (3,), which it does not take": lambda: graph((5,), affine(3, 5), affine(3, 4)),
    "n1: got tau 1e-05, allowed are finite numbers >= dt": lambda: graph((5,), affine(3, 5), lif(3, tau=1e-5)),
    "n1: got v_threshold of both signs": lambda: graph((5,), affine(3, 5), lif(3, v_threshold=np.array([1.0, -1, 1]))),
    "n1: got v_leak from": lambda: graph((5,), affine(3, 5), lif(3, v_leak=spread(3))),
    "n1: got tau_syn from": lambda: graph((5,), affine(3, 5), lif(3, kind=nir.CubaLIF, tau_syn=spread(3))),
    "n0: got thresholds or r that differ between pixels": lambda: graph(
        (2, 3, 3), lif(2, 3, 3, v_threshold=spread(2, 3, 3)), nir.Flatten(np.array([2, 3, 3]), 0, -1), affine(3, 18)
    ),
    "n1: has no input": lambda: graph((5,), affine(3, 5), lif(3), edges=[("input", "n0"), ("n0", "output")]),
    "edges: got input -> n0 twice": lambda: graph((5,), affine(3, 5), edges=[("input", "n0")] * 2 + [("n0", "output")]),
    "edges: got nobody": lambda: graph((5,), affine(3, 5), edges=[("input", "n0"), ("nobody", "output")]),
    "nodes: got 2 of type Input": lambda: graph((5,), nir.Input(np.array([5])), affine(3, 5)),
    "n0: got an output of shape (4, 6, 6), allowed is (n,)": lambda: graph((2, 6, 6), conv(4, 2, 6)),
    "input: got shape (5, 5)": lambda: graph((5, 5), nir.Flatten(np.array([5, 5]), 0, -1), affine(3, 25)),
    "n0: got Flatten": lambda: graph((2, 6, 6), nir.Flatten(np.array([2, 6, 6]), 1, -1), affine(3, 72)),
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_has_no_counterpart_is_named(message: str) -> None:
    with pytest.raises(NotImportable) as error:
        from_nir(BROKEN[message](), T=3)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_none_of_nir_1_are_named(tmp_path: Path) -> None:
    path = tmp_path / "g.nir"
    with pytest.raises(NotImportable, match="no such file"):
        from_nir(path)
    path.write_bytes(b"text")
    with pytest.raises(NotImportable, match="is no NIR file"):
        from_nir(path)
    nir.write(path, graph((5,), affine(3, 5)))
    with pytest.raises(NotImportable, match="T: got none in the metadata"):
        from_nir(path)
    with h5py.File(path, "a") as file:
        del file["node/nodes/n0/type"]
        file["node/nodes/n0/type"] = "Sigmoid"
    with pytest.raises(NotImportable, match=r"got nodes of type Sigmoid, which nir .* does not know"):
        from_nir(path)
    with h5py.File(path, "a") as file:
        del file["version"]
        file["version"] = "0.2"
    with pytest.raises(NotImportable, match=r"got version 0\.2 of NIR, allowed is 1\.x"):
        from_nir(path)
