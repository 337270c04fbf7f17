"""NIR files and graphs, checked, as nodes in their order of computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from snn4.policies.export.description import INPUT
from snn4.policies.export.graphs import FLAT
from snn4.policies.export.nir import FORMAT, INTEGRATOR
from snn4.policies.export.nir_library import h5py, nir
from snn4.policies.export.nir_neurons import NotImportable

VERSIONS = ("1",)
"""First numbers of the versions of nir whose files can be read."""
SPIKING = ("LIF", "CubaLIF", "IF")


class Wiring(NamedTuple):
    """A graph without its ends."""

    input_shape: tuple[int, ...]
    nodes: list[tuple[str, Any, tuple[str, ...]]]
    """Name, NIR node and inputs of each, in order of computation; the last one is the output."""


def read_nir(path: Path) -> Any:
    """The ``nir.NIRGraph`` in a file.

    Raises:
        NotImportable: there is no such file, it is of another version or damaged, or it has unknown nodes.
    """
    if not path.is_file():
        raise NotImportable(f"{path}: no such file; allowed is a file that NIR has written (.nir)")
    try:
        version = nir.serialization.read_version(path)
    except (OSError, KeyError, AttributeError, ValueError) as error:
        raise NotImportable(f"{path}: is no NIR file ({error})") from error
    if version.partition(".")[0] not in VERSIONS:
        allowed = " and ".join(f"{number}.x" for number in VERSIONS)
        raise NotImportable(f"{path}: got version {version} of NIR, allowed is {allowed}; write it again with nir 1")
    if unknown := sorted(set(_types(path)) - set(nir.ir.__all__)):
        raise NotImportable(f"{path}: got nodes of type {', '.join(unknown)}, which nir {nir.version} does not know")
    try:
        graph = nir.read(path, type_check=False)  # nir 1.0.8 refuses kernels that are not square
    except Exception as error:  # nir checks with assertions, and calls constructors with what the file has
        raise NotImportable(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(graph, nir.NIRGraph):
        raise NotImportable(f"{path}: got a {type(graph).__name__}, allowed is a graph")
    return graph


def _types(path: Path) -> list[str]:
    """The types of all nodes, as the file has them."""
    types: list[str] = []

    def visit(name: str, item: Any) -> None:
        if name.rpartition("/")[2] == "type" and isinstance(item, h5py.Dataset):
            value = item[()]
            types.append(value.decode() if isinstance(value, bytes) else str(value))

    with h5py.File(path) as file:
        file.visititems(visit)
    return types


def wiring(graph: Any) -> Wiring:
    """The nodes of ``graph`` in order of computation.

    Raises:
        NotImportable: it has several inputs or outputs, graphs inside, edges to nowhere, or a cycle.
    """
    _require_format(graph)
    if inner := [name for name, node in graph.nodes.items() if isinstance(node, nir.NIRGraph)]:
        raise NotImportable(f"{inner[0]}: got a graph inside the graph, allowed are nodes; a recurrent layer, for "
                            "which snnTorch writes one, has no counterpart in this project")  # fmt: skip
    ends = [[name for name, node in graph.nodes.items() if isinstance(node, kind)] for kind in (nir.Input, nir.Output)]
    for end, found in zip(("Input", "Output"), ends, strict=True):
        if len(found) != 1:
            raise NotImportable(f"nodes: got {len(found)} of type {end}, allowed is one")
    (start,), (end,) = ends
    sources = _sources(graph)
    order = _ordered(graph, sources)
    names = {name: INPUT if name == start else _plain(name) for name in order}
    if len(set(names.values())) < len(names):
        raise NotImportable("nodes: got names that differ only in dots, allowed are other names")
    if INTEGRATOR in order and bool(graph.metadata.get("integrated")):  # this project's readout, which T replaces
        sources[end] = sources.pop(INTEGRATOR)
        order.remove(INTEGRATOR)
    nodes = [
        (names[name], graph.nodes[name], tuple(names[source] for source in sources[name]))
        for name in order
        if name not in (start, end)
    ]
    shape = tuple(int(n) for n in graph.nodes[start].input_type["input"])
    return Wiring(shape, _ending(nodes, [names[source] for source in sources[end]]))


def _require_format(graph: Any) -> None:
    version = int(graph.metadata.get("snn4_format", FORMAT))
    if version > FORMAT:
        raise NotImportable(f"snn4_format: got {version}, allowed is up to {FORMAT}; update snn4-agent")


def _sources(graph: Any) -> dict[str, list[str]]:
    """The sources of each node; nodes that nothing leads to are left out with an error."""
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        if missing := [name for name in (source, target) if name not in graph.nodes]:
            raise NotImportable(f"edges: got {missing[0]}, allowed are names of nodes")
        if source in sources[target]:
            raise NotImportable(f"edges: got {source} -> {target} twice, allowed is once")
        sources[target].append(source)
    if lonely := [n for n, found in sources.items() if not found and not isinstance(graph.nodes[n], nir.Input)]:
        raise NotImportable(f"{lonely[0]}: has no input, allowed are nodes that the input leads to")
    return sources


def _ordered(graph: Any, sources: dict[str, list[str]]) -> list[str]:
    order: list[str] = []
    waiting = list(graph.nodes)
    while waiting:
        ready = [name for name in waiting if all(source in order for source in sources[name])]
        if not ready:
            raise _cycle(graph, sources, waiting)
        order += ready
        waiting = [name for name in waiting if name not in ready]
    return order


def _cycle(graph: Any, sources: dict[str, list[str]], waiting: list[str]) -> NotImportable:
    """The error for a cycle among the nodes that are ``waiting``: all of them, or some, wait for themselves."""
    path = [waiting[0]]
    while (before := next(name for name in sources[path[-1]] if name in waiting)) not in path:
        path.append(before)
    cycle = path[path.index(before) :][::-1]
    first = cycle.index(min(cycle))  # where a cycle begins is the file's chance
    cycle = cycle[first:] + cycle[:first]
    shown = " -> ".join([*cycle, cycle[0]])
    if any(type(graph.nodes[name]).__name__ in SPIKING for name in cycle):
        return NotImportable(f"edges: got the spiking recurrence {shown}, allowed are networks without recurrence; "
                             "this project has no such layer")  # fmt: skip
    return NotImportable(f"edges: got the cycle {shown} without spiking neurons, which has no order of computation; "
                         "allowed are graphs without cycles")  # fmt: skip


def _plain(name: str) -> str:
    """``name`` as nodes of this project have it."""
    plain = name.replace(".", "_").replace("/", "_")
    return f"node_{plain}" if plain in (INPUT, FLAT) or hasattr(nn.ModuleDict(), plain) else plain


def _ending(
    nodes: list[tuple[str, Any, tuple[str, ...]]], outputs: list[str]
) -> list[tuple[str, Any, tuple[str, ...]]]:
    """``nodes`` in an order in which the output is the last one."""
    if len(outputs) != 1:
        raise NotImportable(f"output: got the sum of {', '.join(outputs)}, allowed is one node")
    read = {source for _, _, inputs in nodes for source in inputs}
    if unread := [name for name, _, _ in nodes if name not in read and name != outputs[0]]:
        raise NotImportable(f"{unread[0]}: leads to nothing, allowed are nodes that lead to the output")
    last = [node for node in nodes if node[0] == outputs[0]]
    return [node for node in nodes if node[0] != outputs[0]] + last
