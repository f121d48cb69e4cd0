"""A Kafka broker that asks who comes, and lets nobody do what was not allowed: for tests of logins and rights."""

from __future__ import annotations

import importlib
from typing import Any, Final

from streaming.log.kafka_client import admin_library

ADMIN: Final = "admin"
"""May do everything."""
GUEST: Final = "guest"
"""May do what the tests say."""
STRANGER: Final = "stranger"
"""The same."""


def password_of(user: str) -> str:
    """Return the password of a user whom the broker knows."""
    return f"password-of-{user}"


_LOGIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_USERS: Final = " ".join(f'user_{user}="{password_of(user)}"' for user in (ADMIN, GUEST, STRANGER))

GUARDED: Final = {
    "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "listener.name.plaintext.plain.sasl.jaas.config": (
        f'{_LOGIN} username="{ADMIN}" password="{password_of(ADMIN)}" {_USERS};'
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:{ADMIN};User:ANONYMOUS",  # the controller's own connection has no name
}
"""Settings of such a broker."""


def login(user: str, password: str | None = None) -> tuple[str, ...]:
    """Return the flags of a process that logs in; with the right password unless another is given."""
    shown = password or password_of(user)
    named = {"kafka.mechanism": "PLAIN", "kafka.username": user, "kafka.password": shown}
    return tuple(word for name, value in named.items() for word in ("--set", f"{name}={value}"))


# Numbers of Kafka's protocol.
_TOPIC: Final = 2
_GROUP: Final = 3
_CLUSTER: Final = 4
_LITERAL: Final = 3
_ALL: Final = 2
_DENY: Final = 2
_ALLOW: Final = 3
READ: Final = 3
WRITE: Final = 4


class Rights:
    """Gives rights and takes them away, at once; an ``async with`` block is its life.

    Args:
        bootstrap: The guarded broker.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin: Any = None

    async def __aenter__(self) -> Rights:
        self._admin = admin_library().AIOKafkaAdminClient(
            bootstrap_servers=self._bootstrap,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username=ADMIN,
            sasl_plain_password=password_of(ADMIN),
        )
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def allow_all(self, user: str) -> None:
        """Let a user do everything that is not denied."""
        for kind, name in ((_TOPIC, "*"), (_GROUP, "*"), (_CLUSTER, "kafka-cluster")):
            await self._rule("CreateAcls", kind, name, user, _ALL, _ALLOW)

    async def deny(self, user: str, topic: str, operation: int) -> None:
        """Let a user no longer do something with a topic."""
        await self._rule("CreateAcls", _TOPIC, topic, user, operation, _DENY)

    async def deny_no_more(self, user: str, topic: str, operation: int) -> None:
        """Take that back."""
        await self._rule("DeleteAcls", _TOPIC, topic, user, operation, _DENY)

    async def limit_records(self, topic: str, size: int) -> None:
        """Have a topic take batches of at most so many bytes."""
        resources = importlib.import_module("aiokafka.admin.config_resource")
        kind = resources.ConfigResourceType.TOPIC
        (answer,) = await self._admin.alter_configs(
            [resources.ConfigResource(kind, topic, configs={"max.message.bytes": str(size)})]
        )
        assert [each[0] for each in answer.resources] == [0]

    async def _rule(self, change: str, *rule: object) -> None:
        kind, name, user, operation, verdict = rule
        request = getattr(importlib.import_module("aiokafka.protocol.admin"), f"{change}Request")
        answer = await self._admin._send_request(  # the client has no method for it
            request(kind, name, _LITERAL, f"User:{user}", "*", operation, verdict)
        )
        answers = answer.creation_responses if change == "CreateAcls" else answer.filter_responses
        assert [each[0] for each in answers] == [0]
