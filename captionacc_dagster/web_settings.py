"""The settings of the HTTP service and of the webhook."""

from ipaddress import ip_network
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings


class WebSettings(BaseSettings):
    """A part of :class:`captionacc_dagster.settings.Settings`."""

    # The HTTP service: API, events and review page. With Supabase, or one of the two JWT settings, callers
    # have to sign in; without, the service listens on loopback only.
    serve_port: int | None = Field(
        None,
        alias="CAPTIONACC_SERVE_PORT",
        ge=1,
        le=65535,
        description="port of `captionacc serve`; the one after CAPTIONACC_PORT when unset",
    )
    jwt_secret: SecretStr | None = Field(
        None, alias="SUPABASE_JWT_SECRET", description="secret of users' tokens that are signed with HS256"
    )
    jwks_url: str | None = Field(
        None,
        alias="SUPABASE_JWKS_URL",
        description="public keys of users' tokens; those of SUPABASE_URL when unset",
    )
    serve_origins: str = Field(
        "",
        alias="CAPTIONACC_SERVE_ORIGINS",
        description="origins of other sites whose pages may call the service, separated by commas",
    )
    serve_requests_a_minute: int = Field(
        1200, alias="CAPTIONACC_SERVE_REQUESTS_A_MINUTE", ge=1, description="of one caller"
    )
    max_upload_bytes: int = Field(
        20_000_000_000, alias="CAPTIONACC_MAX_UPLOAD_BYTES", ge=1, description="largest file of an upload"
    )

    # Fast paths, both optional: sensors find the same work a few seconds later.
    webhook_secret: SecretStr | None = Field(
        None, alias="CAPTIONACC_WEBHOOK_SECRET", description="bearer token that Supabase sends"
    )
    webhook_port: int = Field(3001, alias="CAPTIONACC_WEBHOOK_PORT", ge=1, le=65535)
    webhook_trusted_proxies: str = Field(
        "",
        alias="CAPTIONACC_WEBHOOK_TRUSTED_PROXIES",
        description="addresses and networks, separated by commas, whose X-Forwarded-For is trusted",
    )
    webhook_requests_a_minute: int = Field(
        300, alias="CAPTIONACC_WEBHOOK_REQUESTS_A_MINUTE", ge=1, description="of one client"
    )

    @field_validator("serve_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        origins = [part.strip().rstrip("/") for part in value.split(",") if part.strip()]
        for origin in origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
                raise ValueError(f"{origin[:80]!r} is not an origin such as https://app.example.com")
        return ",".join(origins)

    @field_validator("webhook_trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        # Not "*": a client that can claim any address has no rate limit.
        return ",".join(str(ip_network(part.strip())) for part in value.split(",") if part.strip())
