"""Processes of Lava that hang are ended, and their shared memory is freed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from side_environment import lava_python

from snn4.agent.export.lava import LavaFailed, run_lava

HANGING = """
import re
import time
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

class Hanging(AbstractProcess):
    pass

@implements(proc=Hanging, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyHanging(PyLoihiProcessModel):
    def run_spk(self):
        print(*set(re.findall("/dev/shm/psm_[^ ]*", open("/proc/self/maps").read())), flush=True)
        time.sleep(60)

if __name__ == "__main__":
    print("begins", flush=True)
    Hanging().run(RunSteps(3), Loihi2SimCfg(select_tag="fixed_pt"))
    print("ends", flush=True)
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm")
def test_nothing_stays_in_shared_memory(tmp_path: Path) -> None:
    python = lava_python()
    script = tmp_path / "run.py"
    script.write_text(HANGING)
    with pytest.raises(LavaFailed, match=r"(?s)was silent for 4 s, and was ended.*begins") as caught:
        run_lava(python, script, [], silence=4)
    shared = re.findall(r"/dev/shm/psm_\w+", str(caught.value))
    assert shared
    assert not [path for path in shared if Path(path).exists()]
