"""Policies that act without torch and without stable-baselines3: with NumPy, and code that is compiled once.

``save`` writes a spiking policy into one small file, once and with torch; ``load`` reads it, in any process.
"""

from snn4.policies.deploy.deployed import Deployed as Deployed
from snn4.policies.deploy.deployed import load as load
from snn4.policies.deploy.file import DeployError as DeployError
from snn4.policies.deploy.saving import save as save
