"""References: each agent on a ground where it learns, with settings that do, and the return to compare with.

`gymnast train AGENT --reference NAME` repeats a row; `benchmarks/learning.py --all` runs every row and makes the table.
"""

from __future__ import annotations

from gymnast.errors import UsageError, nearest
from gymnast.settings.network_references import NETWORKS
from gymnast.settings.reference import Reference
from gymnast.settings.tabular_references import TABULAR

REFERENCES: dict[str, Reference] = TABULAR | NETWORKS


def find(name: str, agent: str | None = None) -> Reference:
    """A reference by its name, of an agent if one is given; UsageError for an unknown one or another agent's."""
    if name not in REFERENCES:
        own = [known for known, row in REFERENCES.items() if agent in (None, row.agent)]
        raise UsageError(
            f"unknown reference {name!r}; choose from {', '.join(own or REFERENCES)}{nearest(name, REFERENCES)}"
        )
    row = REFERENCES[name]
    if agent not in (None, row.agent):
        raise UsageError(f"the reference {name} is for {row.agent}, not for {agent}")
    return row
