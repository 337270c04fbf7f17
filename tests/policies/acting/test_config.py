from __future__ import annotations

import pytest

from snn4.policies.acting.config import PolicyConfig
from snn4.policies.networks.config import NetworkConfig


@pytest.mark.parametrize(
    ("config", "steps"),
    [(PolicyConfig(T=3), 3), (PolicyConfig(T=3).ann_twin(), 1), (PolicyConfig(T=1, state="carry"), 1),
     (PolicyConfig(T=3, encoder=NetworkConfig(T=2)), 5), (PolicyConfig(T=3, encoder=NetworkConfig(T=2)).ann_twin(), 1)],
)  # fmt: skip
def test_a_decision_takes_the_steps_of_all_its_parts(config: PolicyConfig, steps: int) -> None:
    assert config.latency_steps == steps
