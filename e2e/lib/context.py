"""What a case works with."""

from dataclasses import dataclass, field

from lib.console import Failure, say
from lib.scenario.cluster import TikvCluster
from lib.scenario.resource import TikvSecurity


@dataclass
class Context:
    """One case: its namespace and what is in it."""

    name: str
    namespace: str
    cluster: TikvCluster = field(init=False)
    resource: TikvSecurity = field(init=False)

    def __post_init__(self) -> None:
        self.cluster = TikvCluster(self.namespace)
        self.resource = TikvSecurity(self.namespace)

    def check(self, what: str, truth: bool, detail: str = "") -> None:
        """States what must be so; a case ends at the first statement that is not."""
        if not truth:
            raise Failure(f"not so: {what}" + (f" ({detail})" if detail else ""))
        say(f"          so: {what}" + (f" ({detail})" if detail else ""))
