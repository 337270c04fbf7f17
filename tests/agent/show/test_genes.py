from __future__ import annotations

from pathlib import Path
from typing import Any

from snn4.agent.kinds import load
from snn4.agent.show.genes import rows
from snn4.policies.gene import genome


def test_every_gene_has_a_row_that_says_what_becomes_of_weights() -> None:
    config = load("cartpole")[1]
    found = {row[0]: row for row in rows(config)}
    assert list(found) == list(genome(config))
    assert found["policy.T"] == ("policy.T", "4", "1 to 16 (log)", "stay valid")
    assert found["policy.net_arch.0"][3] == "inherited as far as they fit"


def test_only_what_evolves_is_listed_in_its_own_range(cli: Any, tmp_path: Path) -> None:
    evolution = "evolution={genes: [policy.T], ranges: {policy.T: [2, 6]}}"
    assert cli("genome", "cartpole", evolution).out == "policy.T\t4\t2 to 6 (log)\tstay valid\n"
    result = cli("genome", "cartpole", evolution.replace("[2, 6]", "[5, 6]"))
    assert result.status == 2
    assert "policy.T is 4, allowed for evolution is 5 to 6" in result.err
