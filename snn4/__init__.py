"""Agents that think in spikes: `snn4.policies`, `snn4.envs`, `snn4.learners`, `snn4.agent`, `snn4.benchmarks`.

Importing `snn4` alone loads nothing heavy; import the package you need.
"""

__version__ = "0.1.0"
