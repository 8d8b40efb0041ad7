"""The places of the predecessor's catalogue and bucket, for `captionacc adopt`. Both are only read."""

import re

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


class AdoptionSettings(BaseSettings):
    """A part of :class:`captionacc_dagster.settings.Settings`."""

    adopt_database_url: SecretStr | None = Field(
        None, alias="CAPTIONACC_ADOPT_DATABASE_URL", description="PostgreSQL of the predecessor's catalogue"
    )
    adopt_supabase_url: str | None = Field(
        None,
        alias="CAPTIONACC_ADOPT_SUPABASE_URL",
        description="Supabase project of the predecessor's catalogue, instead of a database URL",
    )
    adopt_supabase_key: SecretStr | None = Field(
        None, alias="CAPTIONACC_ADOPT_SUPABASE_KEY", description="its service-role key"
    )
    # Not checked as the platform's own schema is: the predecessor's may be public.
    adopt_schema: str = Field(
        "captionacc", alias="CAPTIONACC_ADOPT_SCHEMA", description="schema of the predecessor's tables"
    )
    adopt_storage_url: str | None = Field(
        None,
        alias="CAPTIONACC_ADOPT_STORAGE_URL",
        description="the predecessor's bucket: s3://bucket[/prefix], or file:///folder",
    )
    adopt_storage_endpoint: str | None = Field(
        None,
        alias="CAPTIONACC_ADOPT_STORAGE_ENDPOINT",
        description="its S3 endpoint; the platform's when unset",
    )
    adopt_storage_region: str | None = Field(
        None, alias="CAPTIONACC_ADOPT_STORAGE_REGION", description="its region; the platform's when unset"
    )
    adopt_access_key_id: str | None = Field(
        None, validation_alias=AliasChoices("CAPTIONACC_ADOPT_ACCESS_KEY", "WASABI_ACCESS_KEY_READONLY")
    )
    adopt_secret_access_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("CAPTIONACC_ADOPT_SECRET_KEY", "WASABI_SECRET_KEY_READONLY")
    )

    @field_validator("adopt_schema")
    @classmethod
    def _identifier(cls, name: str) -> str:
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is not a name of a schema")
        return name
