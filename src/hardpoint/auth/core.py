"""`Auth`: accounts and sessions in one, over what an application has; no HTTP."""

import hmac
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Any, Final

from hardpoint.arguments import check_argument
from hardpoint.auth.accounts import Accounts
from hardpoint.auth.api_keys import ApiKeys
from hardpoint.auth.base import S, U
from hardpoint.auth.cache import PrincipalCache
from hardpoint.auth.keys import Key, KeySet
from hardpoint.auth.passwords import PasswordHasher, PasswordPolicy
from hardpoint.auth.protocols import AuthNotifier, AuthStore, LoginLimiter
from hardpoint.auth.refresh import SessionSecrets
from hardpoint.auth.sessions import Sessions
from hardpoint.auth.sqlalchemy import AuthModels, SQLAlchemyStore
from hardpoint.auth.tokens import AccessTokens
from hardpoint.clock import Clock, wall_clock

__all__ = ["WS_TICKET_SECONDS", "Auth"]

WS_TICKET_SECONDS: Final = 30
_MIN_SECRET_BYTES: Final = 32
_MAX_LIFE_SECONDS: Final = 36_500 * 86_400


class Auth(Accounts[U, S], Sessions[U, S]):
    """Accounts and sessions over the application's own models, or over a store of its own.

    Held in the lifespan's state under the name `auth`, where the dependencies of `hardpoint.auth` find it:
    `Resource.constant("auth", Auth(...))`, or `auth_lifespan(Auth(...), url)` for all that it needs.

    `session` is in every method the transaction of whoever calls: SQLAlchemy's `AsyncSession`, or what `store` takes.

    Args:
        models: The application's SQLAlchemy models.
        store: Instead of `models`, makes a store of a session: what implements `AuthStore`.
        secret: The service's secret, 32 bytes or more; refresh tokens and cookies are derived from it.
        tokens: Issues and verifies access tokens; by default by HS256 with the secret. Services that share a secret
            need `tokens` with an issuer and an audience of their own, or they accept each other's.
        hasher: Hashes passwords; argon2 in as many threads as there are processors by default.
        policy: What a new password must be; 15 characters that are not easily guessed by default.
        notifier: How users are told. Without one nobody is, and addresses cannot be verified.
        limiter: What slows down guessing; none by default.
        default_role: The role of a registered user.
        require_verified_email: Whether an account whose address is not proven may not log in.
        idle_seconds: After which a session that was not refreshed is over.
        lifetime_seconds: After which a session is over, whatever happened in it.
        grace_seconds: For how long the token before the newest still gives the newest: a client whose answer was
            lost, or whose tabs refresh together, is not a thief. 0 is strict.
        verification_seconds: The life of a verification mail's token.
        reset_seconds: The life of a reset mail's token.
        mails_per_hour: How many mails of one kind strangers can make somebody get: what is asked for beyond that, for a
            forgotten password or by registering an address again, is answered as ever and mailed to nobody. Of reset
            mails it is as many in each `reset_seconds`.
        cache: Keeps who a token is of for a few seconds; without one, every request reads it.
        clock: Seconds since the epoch.

    Raises:
        ValueError: The secret is too short, a life is not between a second and 36,500 days, there is not exactly one of
            `models` and `store`, or addresses would have to be verified and nobody could be told.
        TypeError: An argument is something else, such as a class where an object is meant.
    """

    def __init__(
        self,
        *,
        models: AuthModels[U] | None = None,
        store: Callable[[S], AuthStore[U]] | None = None,
        secret: bytes,
        tokens: AccessTokens | None = None,
        hasher: PasswordHasher | None = None,
        policy: PasswordPolicy | None = None,
        notifier: AuthNotifier[U, S] | None = None,
        limiter: LoginLimiter | None = None,
        default_role: str = "user",
        require_verified_email: bool = True,
        idle_seconds: int = 2_592_000,
        lifetime_seconds: int = 7_776_000,
        grace_seconds: int = 10,
        verification_seconds: int = 86_400,
        reset_seconds: int = 3_600,
        mails_per_hour: int = 5,
        cache: PrincipalCache | None = None,
        clock: Clock = wall_clock,
    ) -> None:
        check_argument("models", models, AuthModels | None, "AuthModels.beside(User)")
        check_argument("secret", secret, bytes, 'bytes, such as os.environ["SECRET"].encode()')
        check_argument("notifier", notifier, "verify_email", "an AuthNotifier")
        check_argument("limiter", limiter, "attempt", "a LoginLimiter, such as FailureLimiter(limiter, rate)")
        # Of these whatever does the same will do.
        for name, given in {"tokens": tokens, "hasher": hasher, "policy": policy, "cache": cache}.items():
            check_argument(name, given, object, "an object")
        if notifier is None and require_verified_email:
            raise ValueError("Without a notifier no address can be verified: give one, or require_verified_email=False")
        if len(secret) < _MIN_SECRET_BYTES:
            raise ValueError(f"The secret must be at least {_MIN_SECRET_BYTES} bytes long")
        lives = (idle_seconds, lifetime_seconds, verification_seconds, reset_seconds)
        if min(lives) < 1 or grace_seconds < 0:
            raise ValueError("Lives must be at least one second, and grace_seconds not negative")
        if max(*lives, grace_seconds) > _MAX_LIFE_SECONDS:
            # A moment before the year 1 or after the year 9999 is none, which the first request would find out.
            raise ValueError("Lives must be at most 36500 days")
        if mails_per_hour < 1:
            raise ValueError("mails_per_hour must be at least 1")
        self.models = models
        self.store = _store_maker(models, store)
        self.tokens = tokens or AccessTokens(
            KeySet(Key.from_secret(secret)), issuer="hardpoint", audience="hardpoint", clock=clock
        )
        self._secret = secret
        self._secrets = SessionSecrets(secret)
        self._hasher = hasher or PasswordHasher()
        self.policy = policy or PasswordPolicy()
        self._notifier = notifier
        self._limiter = limiter
        self._default_role = default_role
        self._require_verified_email = require_verified_email
        self.idle = timedelta(seconds=idle_seconds)
        self.lifetime = timedelta(seconds=lifetime_seconds)
        self._grace = timedelta(seconds=grace_seconds)
        self._one_time_life = {
            "verify_email": timedelta(seconds=verification_seconds),
            "reset_password": timedelta(seconds=reset_seconds),
            # No token at all, but a note that a mail was sent, which ages as they do.
            "told_registered": timedelta(hours=1),
            "ws_ticket": timedelta(seconds=WS_TICKET_SECONDS),
        }
        self._mails_per_hour = mails_per_hour
        self._cache = cache
        self._clock = clock
        self.api_keys: ApiKeys[S] = ApiKeys(self.store, self.now)

    def derived_key(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, derived from the secret, so that no two purposes share one."""
        return hmac.digest(self._secret, b"hardpoint " + purpose.encode(), sha256)


def _store_maker(
    models: AuthModels[U] | None, store: Callable[[S], AuthStore[U]] | None
) -> Callable[[S], AuthStore[U]]:
    if (models is None) == (store is None):
        raise ValueError("Give either models or a store")
    if store is not None and not callable(store):
        raise TypeError(f"store takes a function of a session, such as MemoryStore, not a {type(store).__name__}")
    # Without a store of its own, S is SQLAlchemy's session.
    made: Any = store if models is None else partial(SQLAlchemyStore, models=models)
    chosen: Callable[[S], AuthStore[U]] = made
    return chosen
