"""The config of a policy: the network with which an organism chooses its actions, spiking or its artificial twin."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from torch import nn

from snn4.policies.acting.arguments import layer_sizes, not_negative, whole_number
from snn4.policies.acting.memory import MemoryConfig
from snn4.policies.coding import CodingConfig
from snn4.policies.gene import Choice, Gene
from snn4.policies.networks.config import MOST_STEPS, NetworkConfig
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sparse import SPARSEST

CodingName = Literal["direct", "rate", "latency", "delta", "population", "phase"]
ReadoutName = Literal["rate", "membrane", "weighted", "first_spike"]
BackendName = Literal["torch", "snntorch", "norse"]
ANN_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


@dataclass(frozen=True)
class PolicyConfig:
    """The network with which the organism chooses its actions."""

    kind: Literal["spiking", "ann"] = "spiking"
    """spiking, or its artificial twin (ann), which has the same widths: SB3's MlpPolicy, or sb3-contrib's MlpLstmPolicy
    with ``state: carry``."""
    net_arch: Annotated[tuple[int, ...], Gene(4, 512, log=True, form=True)] = (64, 64)
    """Neurons in each hidden layer of the actor and of the critic."""
    T: Annotated[int, Gene(1, 16, log=True)] = 4
    """Inner steps per decision."""
    state: Literal["reset", "carry"] = "reset"
    """reset: every decision starts from rest. carry: membranes keep their values between decisions of one inner step
    each (T: 1), which makes the policy recurrent; sb3-contrib's RecurrentPPO trains it (algorithm: PPO)."""
    backend: BackendName = "torch"
    """The library that computes the neurons: torch is this project's own code; snntorch and norse are slower, and serve
    as a comparison."""
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    coding: CodingConfig = field(default_factory=CodingConfig)
    encoder: NetworkConfig | None = None
    """A named network that processes images. The input of its readout, averaged over the encoder's own T steps, is the
    constant input of the policy. The encoder has its own neurons. Without an encoder, images are flattened. A file may
    name the run folder of a training or conversion, or zoo:NAME: its network, with its weights as ``initial``."""
    readout: Annotated[ReadoutName, Choice(("rate", "membrane"))] = "rate"
    """How the spikes of the last layer become values: by their rate, by a leaky trace of them, by a learned weight for
    each step, or by the time of the first spike."""
    critic: Literal["spiking", "ann"] = "ann"
    """Critic of PPO and A2C. The critics of SAC and TD3 are always ANNs, because only learning needs a critic."""
    ann_activation: Literal["tanh", "relu"] | None = None
    """Activation function of the artificial twin's actor and critic. The default is SB3's: tanh with PPO and A2C, relu
    with DQN, SAC and TD3. Zeros after relu cost no synaptic operations; tanh gives no zeros."""
    spike_cost: Annotated[float, Gene(0.0, 0.2)] = 0.0
    """Cost of spikes while the policy learns. The loss of the actor (DQN: of the Q-network) gets this cost times the
    mean spike rate of its hidden neurons, from 0 to 1, as a term. Spikes of critics and encoders are free."""
    sparsity: Annotated[float, Gene(0.0, 0.9)] = 0.0
    """Fraction of synapses, up to 0.95, that are absent from each layer of the actor (DQN: of the Q-network) before its
    action head. Absent are those with the smallest weights: of the weights drawn at birth, or of ``initial``. Their
    weights stay 0. The twins are dense."""
    memory: MemoryConfig | None = None
    """How the policy remembers observations and reads spikes (state: carry). Without it, `MemoryConfig`'s defaults."""
    initial: str | None = None
    """Weights to start from: the run folder of a life, a .zip of this project's policies, the run folder of a converted
    agent, or that of a training or conversion, whose network starts the encoder. Names and shapes must fit exactly.
    Twins take those of the twins there, or start anew."""

    def __post_init__(self) -> None:
        whole_number("T", self.T)
        not_negative("spike_cost", self.spike_cost)
        not_negative("sparsity", self.sparsity, SPARSEST)
        layer_sizes("net_arch", self.net_arch)
        if self.T > MOST_STEPS:
            raise ValueError(f"T: got {self.T}, allowed is a whole number >= 1 and <= {MOST_STEPS:,}")
        if len(self.net_arch) > 100 or max(self.net_arch) > 10**6:
            got = list(self.net_arch) if len(self.net_arch) <= 100 else f"{len(self.net_arch)} layers"
            raise ValueError(f"net_arch: got {got}, allowed are 1 to 100 layer sizes >= 1 and <= 1,000,000")
        if self.state == "carry" and self.T != 1:
            raise ValueError(
                f"T: got {self.T}, allowed is 1 with state: carry, which takes one inner step per decision"
            )
        if self.state == "carry" and self.coding.kind != "direct":
            raise ValueError(f"coding: got kind {self.coding.kind!r}, allowed is direct with state: carry; see memory")
        if self.state == "carry" and self.readout != "rate":
            raise ValueError(
                f"readout: got {self.readout!r}, allowed is rate with state: carry; see memory.tau_readout"
            )
        if self.ann_activation not in (None, *ANN_ACTIVATIONS):
            allowed = ", ".join(ANN_ACTIVATIONS)
            raise ValueError(
                f"ann_activation: got {self.ann_activation!r}, allowed are {allowed}, or null for SB3's default"
            )
        if self.state == "carry" and self.ann_activation is not None:
            raise ValueError("ann_activation: not allowed with state: carry, whose twin is an LSTM; leave it out")
        if self.state == "reset" and self.memory is not None:
            raise ValueError("memory: not allowed with state: reset; set state: carry")
        if not self.neuron.spikes:
            raise ValueError("neuron: got kind li, which does not spike; it is for readouts")
        if self.encoder is not None and self.coding.kind != "direct":
            raise ValueError(f"coding: got kind {self.coding.kind!r}, allowed is direct with an encoder")

    @property
    def latency_steps(self) -> int:
        """Inner steps of a decision, those of its encoder included; an ANN takes one."""
        if self.kind == "ann":
            return 1
        return self.T + (0 if self.encoder is None else self.encoder.T)

    @property
    def fixed_genes(self) -> tuple[str, ...]:
        """Keys that cannot evolve beside the other values; see `snn4.policies.gene.loci`."""
        if self.state == "carry":
            return "T", "coding", "readout"
        return () if self.encoder is None else ("coding", "encoder.options")

    def ann_twin(self, activation: Literal["tanh", "relu"] | None = None) -> PolicyConfig:
        """The artificial twin, with ``activation``, or else with this config's ``ann_activation``."""
        return replace(self, kind="ann", ann_activation=activation or self.ann_activation)

    def sb3_kwargs(self, algorithm: str) -> dict[str, Any]:
        """The ``policy_kwargs`` that build ``algorithm``'s policy from this config."""
        kwargs: dict[str, Any] = {}
        if self.encoder is not None:
            from snn4.policies.acting.features import NetworkFeatures  # imports all vision networks

            kwargs["features_extractor_class"] = NetworkFeatures
            kwargs["features_extractor_kwargs"] = {"network": self.encoder, "kind": self.kind}
        if self.state == "carry" and self.kind == "ann":
            return {**kwargs, "net_arch": [], "lstm_hidden_size": self.net_arch[-1], "n_lstm_layers": 1}
        kwargs["net_arch"] = list(self.net_arch)
        if self.kind == "ann" and self.ann_activation is not None:
            kwargs["activation_fn"] = ANN_ACTIVATIONS[self.ann_activation]
        if self.kind == "spiking":
            kwargs |= {"neuron": self.neuron, "backend": self.backend}
            kwargs |= {"spike_cost": self.spike_cost, "sparsity": self.sparsity}
            kwargs |= {"critic": self.critic} if algorithm in ("PPO", "A2C") else {}
            if self.state == "carry":
                kwargs |= {"memory": self.memory}
            else:
                kwargs |= {"T": self.T, "coding": self.coding, "readout": self.readout}
        return kwargs
