from __future__ import annotations

from collections.abc import Callable

import pytest
from stories import Story

from snn4.agent import kinds
from snn4.agent.life.config import LifeConfig
from snn4.agent.run.events import Event
from snn4.agent.run.work import OneProcess


@pytest.fixture(scope="session")
def events(tiny: Callable[..., LifeConfig], tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """Of a life and its twin."""
    work = kinds.named("life").prepare(tiny("ann_twin=true"), OneProcess())
    return Story(work, tmp_path_factory.mktemp("life")).tell()
