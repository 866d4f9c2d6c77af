"""The built-in pack of the demo mode of `/execute`: two harmless actions, one service, nothing else.

It is a pack like any other: parsed, checked, named in every decision.
"""

from __future__ import annotations

from typing import Final

SERVICE: Final = "execute-demo"
PROFILE: Final = "execute-demo"
INTENTS: Final = ("echo", "add")

FILES: Final[dict[str, bytes]] = {
    "pack.yaml": b"""\
id: builtin-demo
version: "1"
description: what /execute may do in demo mode
""",
    "rules.cedar": b"""\
@id("demo-actions")
@obligations("receipt, output_bytes<=65536, timeout<=10s, steps<=1, targets<=1")
permit (principal == Service::"execute-demo", action in Action::"read", resource)
when { context.mode == "read_only" && ["execute-demo/echo", "execute-demo/add"].contains(context.intent) };
""",
    "entities.yaml": b"""\
services: [execute-demo]
""",
}
