from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small networks are fastest with one thread, and rounding then does not depend on the machine's cores."""
    torch.set_num_threads(1)
