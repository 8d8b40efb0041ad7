"""Verification of the JWTs that Supabase Auth gives to users."""

from dataclasses import dataclass, field
from typing import Any

import jwt

from captionacc_dagster.settings import Settings, SettingsError
from modal_gpu.errors import CaptionAccError
from modal_gpu.keys import canonical_uuid

#: Asymmetric algorithms of Supabase's signing keys.
_SIGNED = ("ES256", "RS256", "EdDSA")
#: Difference of clocks that is accepted, in seconds.
_LEEWAY = 10
#: A shorter HS256 secret can be guessed (RFC 7518, section 3.2).
_SECRET_BYTES = 32
ROLES = ("authenticated", "service_role")


class TokenError(CaptionAccError):
    """A token that is missing, expired, or not signed by this project."""


class KeysUnavailableError(CaptionAccError):
    """The project's public keys cannot be read now."""

    retryable = True


@dataclass(frozen=True)
class VerifiedToken:
    """A token whose signature and time are right. ``user_id``: ``None`` for the service role."""

    text: str = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    role: str
    user_id: str | None


class Tokens:
    """Verifies tokens with a shared secret (HS256), or with the public keys at a URL (JWKS)."""

    def __init__(self, *, secret: str | None = None, jwks_url: str | None = None) -> None:
        if secret is None and jwks_url is None:
            raise ValueError("give the secret or the URL of the keys")
        if secret is not None and len(secret.encode()) < _SECRET_BYTES:
            raise SettingsError(
                f"SUPABASE_JWT_SECRET is shorter than {_SECRET_BYTES} bytes: set the project's"
            )
        self._secret = secret
        self._keys = jwt.PyJWKClient(jwks_url, timeout=5, lifespan=600) if jwks_url else None

    def verify(self, token: str) -> VerifiedToken:
        """Return the token's content. Raises :class:`TokenError` and :class:`KeysUnavailableError`."""
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            key, algorithms = self._key(token, algorithm)
            # "aud" differs between users ("authenticated") and the service role, which has none.
            options: Any = {"require": ["exp", "role"], "verify_aud": False}
            claims = jwt.decode(token, key, algorithms, options=options, leeway=_LEEWAY)
        except jwt.PyJWKClientConnectionError:
            raise KeysUnavailableError("the keys that sign users' tokens cannot be read") from None
        except (jwt.PyJWTError, ValueError, UnicodeError):
            raise TokenError("the token is not valid, or has expired: sign in again") from None
        role = claims["role"]
        if role not in ROLES:
            raise TokenError("this needs a user's token: sign in")
        try:
            user_id = canonical_uuid(claims["sub"], "user") if role == "authenticated" else None
        except (KeyError, ValueError):
            raise TokenError("the token names no user: sign in again") from None
        return VerifiedToken(token, claims, role, user_id)

    def _key(self, token: str, algorithm: object) -> tuple[Any, list[str]]:
        # The algorithm decides the kind of key, never the other way: a public key is not a secret.
        if algorithm == "HS256" and self._secret is not None:
            return self._secret, ["HS256"]
        if algorithm in _SIGNED and self._keys is not None:
            return self._keys.get_signing_key_from_jwt(token).key, list(_SIGNED)
        raise TokenError("the token is signed in a way that this installation does not accept")


def tokens_of(settings: Settings) -> Tokens | None:
    """Return the verification that the settings describe; ``None`` if nobody can sign in.

    With Supabase the project's public keys are used, and its secret for tokens that are signed with it.
    """
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    url = settings.jwks_url
    if settings.supabase_url and not url:
        url = settings.supabase_url.rstrip("/").removesuffix("/rest/v1") + "/auth/v1/.well-known/jwks.json"
    return Tokens(secret=secret, jwks_url=url) if secret or url else None
