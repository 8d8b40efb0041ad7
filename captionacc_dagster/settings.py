"""All configuration, from the environment or from a ``.env`` file in the working directory.

Nothing has to be set: by default the platform is embedded in one folder. Secrets are
:class:`pydantic.SecretStr` and are unwrapped only where a client is created.
"""

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from captionacc_dagster.adoption_settings import AdoptionSettings
from captionacc_dagster.constants import (
    DEFAULT_SCHEMA,
    LOCAL_AUTO_APPROVE_CONFIDENCE,
    LOCAL_TENANT_ID,
    check_schema_name,
)
from captionacc_dagster.ocr_settings import OcrSettings
from captionacc_dagster.web_settings import WebSettings
from modal_gpu.cores import available_cores
from modal_gpu.errors import CaptionAccError


class SettingsError(CaptionAccError):
    """An environment variable has an invalid value."""


class Settings(OcrSettings, WebSettings, AdoptionSettings):
    """The settings of an installation. The alias of a field is its environment variable."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    home: Path = Field(
        Path(".captionacc"),
        alias="CAPTIONACC_HOME",
        description="Folder of the embedded parts' state",
    )

    # Catalogue
    database_url: SecretStr | None = Field(
        None,
        alias="CAPTIONACC_DATABASE_URL",
        description="PostgreSQL of the catalogue; the embedded one when unset",
    )
    supabase_url: str | None = Field(
        None, alias="SUPABASE_URL", description="Supabase project of the catalogue, instead of a database URL"
    )
    supabase_service_role_key: SecretStr | None = Field(None, alias="SUPABASE_SERVICE_ROLE_KEY")
    catalogue_schema: str = Field(
        DEFAULT_SCHEMA,
        alias="CAPTIONACC_SCHEMA",
        description="schema of the catalogue in its database, used by nothing else",
    )

    # Object storage. Existing deployments use the WASABI_ names.
    storage_url: str | None = Field(
        None,
        alias="CAPTIONACC_STORAGE_URL",
        description="file:///folder or s3://bucket[/prefix]; a folder in the home when unset",
    )
    storage_bucket: str | None = Field(None, validation_alias=AliasChoices("WASABI_BUCKET"))
    storage_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices(
            "WASABI_ENDPOINT_URL", "WASABI_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"
        ),
    )
    storage_region: str | None = Field(
        None, validation_alias=AliasChoices("WASABI_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    )
    storage_access_key_id: str | None = Field(
        None,
        validation_alias=AliasChoices(
            "WASABI_ACCESS_KEY_READWRITE", "WASABI_ACCESS_KEY", "AWS_ACCESS_KEY_ID"
        ),
    )
    storage_secret_access_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices(
            "WASABI_SECRET_KEY_READWRITE", "WASABI_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"
        ),
    )
    storage_path_style: bool = Field(
        True, alias="CAPTIONACC_STORAGE_PATH_STYLE", description="bucket in the path; all stores accept it"
    )

    # Compute
    modal_enabled: bool = Field(False, alias="MODAL_ENABLED", description="run the GPU functions on Modal")
    # The name and environment of the app are settings of its deployment: modal_gpu.deployment.settings.
    modal_poll_seconds: float = Field(
        2, alias="MODAL_POLL_SECONDS", ge=0.1, le=60, description="interval of a run's queries to Modal"
    )
    modal_wait_seconds: float = Field(
        14_400, alias="MODAL_WAIT_SECONDS", ge=1, description="longest wait for a call, including its queue"
    )
    modal_unreachable_seconds: float = Field(
        300,
        alias="MODAL_UNREACHABLE_SECONDS",
        ge=1,
        description="an attempt ends when Modal does not answer for this long; its calls continue",
    )
    modal_result_seconds: float = Field(
        86_400,
        alias="MODAL_RESULT_SECONDS",
        ge=1,
        description="how long the result of a call can be used by a later attempt",
    )
    workers: int = Field(
        0, alias="CAPTIONACC_WORKERS", ge=0, description="CPU workers of a run; 0: one per core"
    )
    segment_frames: int = Field(
        6144,
        alias="CAPTIONACC_SEGMENT_FRAMES",
        ge=512,
        multiple_of=512,
        description="longest part of a video per call, in tenths of a second",
    )
    max_parallel: int = Field(
        0,
        alias="CAPTIONACC_MAX_PARALLEL",
        ge=0,
        description="concurrent calls for a video; 0: ten on Modal, one per two cores here",
    )

    extents_predictor: Literal["strokes", "network"] = Field(
        "network",
        alias="EXTENTS_PREDICTOR",
        description="how captions are distinguished: by the trained network, or by strokes without a model",
    )
    extents_model: str = Field(
        "",
        alias="EXTENTS_MODEL",
        description="model file of `captionacc model`, or a path; the shipped one when unset",
    )

    # Subtitles
    growing_captions: Literal["fold", "keep"] = Field(
        "fold",
        alias="CAPTIONACC_GROWING_CAPTIONS",
        description="captions that grow or roll up become one cue a sentence or line, or one for each state",
    )

    # Costs of remote compute, in US dollars
    prices: str = Field(
        "", alias="CAPTIONACC_PRICES", description="prices that replace the list prices, as JSON"
    )
    video_cost_limit: float | None = Field(
        5,
        alias="CAPTIONACC_VIDEO_COST_LIMIT",
        ge=0,
        description="limit of a video's cost, unless its tenant or tier has one; 'off': none",
    )
    month_cost_limit: float | None = Field(
        100,
        alias="CAPTIONACC_MONTH_COST_LIMIT",
        ge=0,
        description="limit of a tenant's cost per month, unless it or its tier has one; 'off': none",
    )

    # Policy of the embedded platform's tenant
    tenant_id: UUID = Field(UUID(LOCAL_TENANT_ID), alias="CAPTIONACC_TENANT_ID")
    auto_approve_layout: float | None = Field(
        LOCAL_AUTO_APPROVE_CONFIDENCE,
        alias="CAPTIONACC_AUTO_APPROVE",
        ge=0,
        le=1,
        description="approve layouts of at least this confidence without a person; 'off': never",
    )

    # Order and number of runs
    age_points_an_hour: float = Field(
        1, alias="CAPTIONACC_AGE_POINTS_AN_HOUR", ge=0, le=100, description="points per hour of waiting"
    )
    age_minutes_a_point: float | None = Field(
        None,
        alias="CAPTIONACC_AGE_MINUTES_A_POINT",
        gt=0,
        description="minutes of waiting for each point, instead of the points per hour",
    )
    age_points_limit: int = Field(
        20, alias="CAPTIONACC_AGE_POINTS_LIMIT", ge=0, le=100, description="most points for waiting"
    )
    user_points: int = Field(
        10,
        alias="CAPTIONACC_USER_POINTS",
        ge=0,
        le=100,
        description="points for runs that a person asked for: approvals, retries, jobs, reading again",
    )
    max_runs: int = Field(
        0,
        alias="CAPTIONACC_MAX_RUNS",
        ge=0,
        description="concurrent runs; 0: ten on Modal, else one per worker, at least two",
    )
    fork_runs: bool = Field(
        True,
        alias="CAPTIONACC_FORK_RUNS",
        description="fork run processes from one that has loaded the code (Linux, default launcher)",
    )
    one_run: bool | None = Field(
        None,
        alias="CAPTIONACC_ONE_RUN",
        description="one run from upload to subtitles where the policy approves; unset: not on Modal",
    )
    tenant_runs: int = Field(
        0,
        alias="CAPTIONACC_TENANT_RUNS",
        ge=0,
        description="concurrent runs of a tenant and job; 0: all but one, or all where embedded",
    )
    tenant_queue: int = Field(
        20,
        alias="CAPTIONACC_TENANT_QUEUE",
        ge=1,
        le=10_000,
        description="runs of a tenant and stage that wait in Dagster's queue",
    )

    backfill_queue: int = Field(
        20,
        alias="CAPTIONACC_BACKFILL_QUEUE",
        ge=1,
        le=1000,
        description="videos of backfills whose runs are requested at once",
    )

    # Dagster UI
    host: str = Field("127.0.0.1", alias="CAPTIONACC_HOST")
    port: int = Field(3000, alias="CAPTIONACC_PORT", ge=1, le=65535)

    # Retention
    archived_days: float = Field(
        30, alias="CAPTIONACC_ARCHIVED_DAYS", ge=0, description="objects of former cropped-frames versions"
    )
    deleted_days: float = Field(
        7, alias="CAPTIONACC_DELETED_DAYS", ge=0, description="objects of deleted videos"
    )

    outcome_days: float = Field(
        90,
        alias="CAPTIONACC_OUTCOME_DAYS",
        ge=1,
        description="outcomes of stages, finished backfills and requests",
    )
    audit_days: float = Field(
        365, alias="CAPTIONACC_AUDIT_DAYS", ge=30, le=30_000, description="audit log of people's actions"
    )
    event_days: float = Field(
        60,
        alias="CAPTIONACC_EVENT_DAYS",
        ge=1,
        description="step-by-step events of Dagster's runs, where they are in PostgreSQL",
    )

    # Logs, metrics and alerts
    log_format: Literal["text", "json"] = Field(
        "text", alias="CAPTIONACC_LOG_FORMAT", description="format of runs' lines on standard output"
    )
    metrics_port: int = Field(9464, alias="CAPTIONACC_METRICS_PORT", ge=1, le=65535)
    alert_webhook: SecretStr | None = Field(
        None, alias="CAPTIONACC_ALERT_WEBHOOK", description="URL that accepts Slack's messages"
    )
    alert_failures_an_hour: int = Field(
        10, alias="CAPTIONACC_ALERT_FAILURES_AN_HOUR", ge=0, description="failed stages; 0: never"
    )
    alert_backlog_minutes: float = Field(
        60, alias="CAPTIONACC_ALERT_BACKLOG_MINUTES", ge=0, description="wait of the oldest video; 0: never"
    )
    alert_stale_lock_minutes: float = Field(
        15, alias="CAPTIONACC_ALERT_STALE_LOCK_MINUTES", ge=0, description="age of an expired lease; 0: never"
    )
    alert_spend_usd: Annotated[tuple[float, ...], NoDecode] = Field(
        (25, 50, 75),
        alias="CAPTIONACC_ALERT_SPEND_USD",
        description="amounts of one tenant in a calendar month, separated by commas; 'off': never",
    )
    alert_silent_minutes: float = Field(
        5, alias="CAPTIONACC_ALERT_SILENT_MINUTES", ge=1, description="of a daemon or sensor"
    )
    alert_repeat_minutes: float = Field(
        240, alias="CAPTIONACC_ALERT_REPEAT_MINUTES", ge=1, description="interval of reminders"
    )

    @field_validator("alert_spend_usd", mode="before")
    @classmethod
    def _amounts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        texts = [] if value.strip().lower() in ("off", "none", "") else value.split(",")
        amounts = sorted({float(text) for text in texts})
        if any(not 0 < amount < math.inf for amount in amounts):
            raise ValueError("amounts are above 0, such as 25,50,75")
        return tuple(amounts)

    @model_validator(mode="after")
    def _one_way_of_aging(self) -> Self:
        if self.age_minutes_a_point is not None and "age_points_an_hour" in self.model_fields_set:
            raise ValueError("set CAPTIONACC_AGE_POINTS_AN_HOUR or CAPTIONACC_AGE_MINUTES_A_POINT, not both")
        return self

    @field_validator("catalogue_schema")
    @classmethod
    def _schema(cls, schema: str) -> str:
        return check_schema_name(schema)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        # Runs start in another working directory than the command that launched them.
        return home.expanduser().resolve()

    @field_validator("auto_approve_layout", "video_cost_limit", "month_cost_limit", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return None if str(value).strip().lower() in {"off", "none", "false", ""} else value

    @property
    def dagster_home(self) -> Path:
        """The folder of Dagster's state: ``DAGSTER_HOME``, or one in the home."""
        return Path(os.environ.get("DAGSTER_HOME") or self.home / "dagster")

    @property
    def has_embedded_catalogue(self) -> bool:
        """True if the catalogue is the PostgreSQL of the home."""
        return self.database_url is None and not self.supabase_url

    @property
    def has_embedded_bucket(self) -> bool:
        """True if the bytes are in a folder of the home."""
        return not self.storage_url and not self.storage_bucket

    @property
    def effective_storage_url(self) -> str:
        """The URL of the object store: the setting, the bucket, or a folder in the home."""
        if self.storage_url:
            return self.storage_url
        if self.storage_bucket:
            return f"s3://{self.storage_bucket}"
        return (self.home / "bucket").as_uri()

    @property
    def effective_serve_port(self) -> int:
        """The port of the HTTP service: the setting, or the one after Dagster's UI."""
        return self.serve_port or min(self.port + 1, 65535)

    @property
    def worker_count(self) -> int:
        """CPU workers of a run: the setting, or one per core."""
        return self.workers or available_cores()

    @property
    def run_limit(self) -> int:
        """Concurrent runs: the setting, or ten on Modal, else one per worker, at least two."""
        return self.max_runs or (10 if self.modal_enabled else max(2, self.worker_count))

    @property
    def tenant_run_limit(self) -> int:
        """Concurrent runs of a tenant and job: the setting, or all but one, which leaves a slot for others.

        The embedded platform has one tenant, which may use all.
        """
        shared = self.database_url is not None or self.supabase_url is not None
        return self.tenant_runs or (max(1, self.run_limit - 1) if shared else self.run_limit)

    @property
    def goes_on(self) -> bool:
        """True if the run that makes a layout goes on to the captions where the tenant's policy approves it.

        On Modal two runs are better: one that waits for a call of the next pool would hold a slot of the
        queue, in which others' layouts could be made.
        """
        return not self.modal_enabled if self.one_run is None else self.one_run

    @property
    def parallel_calls(self) -> int:
        """Concurrent calls for a video: the setting, or what the backend allows."""
        return self.max_parallel or (10 if self.modal_enabled else max(1, self.worker_count // 2))


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the process's settings, read once. Raises :class:`SettingsError` with each invalid variable."""
    return load_settings()


def load_settings() -> Settings:
    """Read the settings. Raises :class:`SettingsError` with each invalid variable."""
    try:
        return Settings()
    except ValidationError as error:
        # Without the values, which may be secret.
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"the settings are not usable: {wrong}") from None
