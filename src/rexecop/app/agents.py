"""Agents: programs that ask under a name of their own, with a person who answers for them."""

from __future__ import annotations

from rexecop.app.door import Caller, ServiceRole, ServiceScope
from rexecop.app.errors import AgentRefused
from rexecop.app.identity import Identity
from rexecop.app.instance import Instance
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established


def agent_caller(instance: Instance, agent: str, sponsor: str | None = None) -> Caller:
    """Return who `agent` is: known by a key of its own, or by the user of the system who answers for it.

    Which person that is the packs in force say; a `sponsor` that is named has to be the same.

    Raises:
        AgentRefused: no pack names such an agent, or another person answers for it.
    """
    asking = instance.identity()
    person, how = asking.principal.person, asking.principal.established
    answers = instance.parts.authority.policy().entities.agents.get(agent)
    if answers is None:
        raise AgentRefused(
            f"no policy pack in force names an agent `{agent:.60}`",
            found=agent[:60],
            next_steps=(
                f"add `agents: {{{agent:.60}: {{sponsor: {person}}}}}` to an entities.yaml in policy/",
            ),
        )
    if sponsor not in (None, answers):
        raise AgentRefused(f"agent `{agent}` acts for `{answers}`, not `{sponsor:.60}`", found=agent)
    if person == agent:
        identity = asking
    elif person == answers and how is Established.OS_USER:
        # The person who starts it is who policy names: they vouch for the name with their own account.
        own = Principal(person=agent, established=how, credential=asking.principal.credential)
        identity = Identity(principal=own)
    else:
        words = f"agent `{agent}` acts for `{answers}`, and `{person}` starts it ({how})"
        raise AgentRefused(f"{words}; use the agent's own key, or no key", found=agent)
    return Caller(
        identity=identity, roles=frozenset({ServiceRole.AGENT}), scope=ServiceScope(), sponsor=answers
    )
