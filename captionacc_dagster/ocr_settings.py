"""The settings of OCR: engine, languages, models, and Google Vision's account."""

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from modal_gpu.errors import ConfigurationError
from modal_gpu.ocr.choice import OcrEngineName
from modal_gpu.ocr.vision_settings import DEFAULT_ENDPOINT, VisionSettings


class OcrSettings(BaseSettings):
    """A part of :class:`captionacc_dagster.settings.Settings`."""

    ocr_engine: OcrEngineName = Field(
        "rapidocr",
        alias="OCR_ENGINE",
        description="rapidocr or tesseract on this machine, or google_vision, which is billed per image",
    )
    ocr_language: str = Field(
        "",
        alias="OCR_LANGUAGE",
        description="BCP-47 tags of the captions' languages, separated by commas, unless a video or its "
        "tenant has its own",
    )
    ocr_model_mirror: str = Field(
        "",
        alias="OCR_MODEL_MIRROR",
        description="address of a copy of RapidOCR's models",
        pattern=r"^(https?://.+)?$",
    )
    # The models in RapidOCR's wheel read Chinese, Japanese, English and other languages of western Europe.
    ocr_detection_model: Path | None = Field(None, alias="OCR_DETECTION_MODEL")
    ocr_recognition_model: Path | None = Field(None, alias="OCR_RECOGNITION_MODEL")
    ocr_dictionary: Path | None = Field(None, alias="OCR_DICTIONARY")
    # Both may hold the content of a key, so they are secret.
    google_credentials: SecretStr | None = Field(None, alias="GOOGLE_APPLICATION_CREDENTIALS")
    google_credentials_json: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices(
            "GOOGLE_APPLICATION_CREDENTIALS_JSON", "GOOGLE_VISION_CREDENTIALS_JSON"
        ),
    )
    google_vision_endpoint: str = Field(DEFAULT_ENDPOINT, alias="GOOGLE_VISION_ENDPOINT")
    google_vision_language_hints: str = Field(
        "", alias="GOOGLE_VISION_LANGUAGE_HINTS", description="BCP-47 codes, separated by commas"
    )
    google_vision_montage: int = Field(
        100, alias="GOOGLE_VISION_MONTAGE", ge=1, description="most frames that are stacked into one image"
    )

    @field_validator("ocr_language")
    @classmethod
    def _languages(cls, value: str) -> str:
        if not value.strip():
            return ""
        # Imported here, since most processes have no language set.
        from modal_gpu.ocr.languages.tags import parse_languages

        try:
            return ",".join(parse_languages(value))
        except ConfigurationError as error:
            raise ValueError(str(error)) from None

    @property
    def vision(self) -> VisionSettings:
        """The settings of Google Vision. Raises :class:`ConfigurationError` for an unusable endpoint."""

        def plain(secret: SecretStr | None) -> str:
            return secret.get_secret_value() if secret else ""

        return VisionSettings.from_environ(
            {
                "GOOGLE_APPLICATION_CREDENTIALS": plain(self.google_credentials),
                "GOOGLE_APPLICATION_CREDENTIALS_JSON": plain(self.google_credentials_json),
                "GOOGLE_VISION_ENDPOINT": self.google_vision_endpoint,
                "GOOGLE_VISION_LANGUAGE_HINTS": self.google_vision_language_hints,
                "GOOGLE_VISION_MONTAGE": str(self.google_vision_montage),
            }
        )

    @property
    def ocr_languages(self) -> tuple[str, ...]:
        """The languages of ``OCR_LANGUAGE``, as standard BCP-47 tags."""
        return tuple(filter(None, self.ocr_language.split(",")))
