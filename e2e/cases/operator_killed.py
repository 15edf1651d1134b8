"""The operator is killed again and again in the middle of a rollout, and the next one finishes the work."""

from typing import Optional

from lib.console import say, step
from lib.context import Context
from lib.scenario import operator, proof, setup
from lib.wait import until

# There is one operator for all.
ALONE = True
# Steps of a rollout in which the operator holds something in its hands.
DELICATE = ("Evicting", "Restarting", "Reencrypting", "CatchingUp", "SwitchingToTls")
KILLS = 5
# Pod and step.
Moment = tuple[str, str]
DONE: Moment = ("", "Ready")


def run(context: Context) -> None:
    client = setup.plaintext_cluster(context)
    setup.make_resource(context)
    killed: list[Moment] = []
    with step(f"operator killed {KILLS} times, each time in another moment"):
        while len(killed) < KILLS:
            moment = until(
                "the next delicate moment", lambda: _moment(context, killed), setup.READY, context.resource.summary
            )
            if moment == DONE:
                break
            operator.kill()
            killed.append(moment)
    for pod, phase in killed:
        say(f"          killed while {phase} {pod}")
    context.check("it was killed in the middle of the work", len(killed) >= 3, f"{len(killed)} times")
    with step("Ready=True all the same"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    proof.certificates_served(context)
    proof.end(context, client)


def _moment(context: Context, killed: list[Moment]) -> Optional[Moment]:
    status = context.resource.get().get("status", {})
    rollout = status.get("rollout", {})
    moment = (rollout.get("pod", ""), rollout.get("phase", ""))
    if moment[1] in DELICATE and moment not in killed:
        return moment
    return DONE if status.get("phase") == "Ready" else None
