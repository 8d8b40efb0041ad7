"""Settings of the app's deployment: names, GPUs, limits. They come from the environment or ``.env``.

The image contains the same values, so that a container imports the app as it was deployed.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from modal_gpu.errors import ConfigurationError
from modal_gpu.extents.block_size import DEFAULT_BLOCK, check_block
from modal_gpu.extents.checkpoint import CHECKPOINT_NAME
from modal_gpu.ocr.languages.tags import parse_languages

EXTRACT = "extract_frames_and_ocr"
CROP_AND_INFER = "crop_and_infer_caption_frame_extents"
CAPTION_OCR = "generate_caption_ocr"
#: The functions that the orchestrator calls.
FUNCTIONS = (EXTRACT, CROP_AND_INFER, CAPTION_OCR)
#: The function that judges the chunks of a version again, for callers of their own.
INFER = "run_boundary_inference_batch"


def stream_of(function: str) -> str:
    """Return the name of a function's generator variant."""
    return f"{function}_stream"


#: The setting with each function's time-out.
TIMEOUT_SETTINGS = {
    EXTRACT: "MODAL_EXTRACT_TIMEOUT",
    CROP_AND_INFER: "MODAL_CROP_INFER_TIMEOUT",
    CAPTION_OCR: "MODAL_CAPTION_OCR_TIMEOUT",
}

#: Documented names of the secret with the bucket's keys; the first is the default.
STORAGE_SECRETS = ("wasabi", "wasabi-credentials")
VISION_SECRET = "google-vision"
#: Keys of the secret with the bucket's keys; endpoint and region default to AWS's. Those of
#: :data:`OTHER_STORAGE_KEYS` stand for them.
STORAGE_KEYS = ("WASABI_BUCKET", "WASABI_ACCESS_KEY_READWRITE", "WASABI_SECRET_KEY_READWRITE")
OTHER_STORAGE_KEYS = {
    "WASABI_ENDPOINT_URL": "WASABI_ENDPOINT",
    "WASABI_ACCESS_KEY_READWRITE": "WASABI_ACCESS_KEY",
    "WASABI_SECRET_KEY_READWRITE": "WASABI_SECRET_KEY",
}
MODEL_VOLUME = "boundary-models"
#: The volume's mount point in a container.
MODEL_MOUNT = "/models"
#: The folder of RapidOCR's models for other languages on the volume, and in a container for those it fetches.
OCR_MODELS = "ocr"
FETCHED_MODELS = "/tmp/captionacc-ocr"
#: Regular expression of a model file's name.
MODEL_NAME = CHECKPOINT_NAME
PROGRESS_QUEUE = "captionacc-progress"

Seconds = Annotated[int, Field(ge=1, le=86_400)]
Containers = Annotated[int, Field(ge=1, le=1_000)]
Cores = Annotated[float, Field(gt=0, le=64)]
Mebibytes = Annotated[int, Field(ge=512, le=344_064)]
Gpu = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+!:-]*$")]


@dataclass(frozen=True)
class FunctionSettings:
    """A function's options on Modal. ``gpu`` is ``None`` for a container without one."""

    name: str
    gpu: str | None
    timeout_seconds: int
    retries: int
    max_containers: int
    cpu: float
    memory_mib: int
    secrets: tuple[str, ...]

    @property
    def workers(self) -> int:
        """Number of CPU workers: the requested cores, since a container sees all cores of its machine."""
        return max(1, round(self.cpu))


class ModalSettings(BaseSettings):
    """Settings of a deployment. A field's alias is its environment variable."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    app_name: str = Field(
        "captionacc-processing",
        alias="MODAL_APP_NAME",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="the app's name",
    )
    environment: str | None = Field(
        None,
        alias="MODAL_ENVIRONMENT",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Modal environment, such as `dev`, `staging` or `prod`; the profile's own when unset",
    )

    storage_secret: str = Field(
        STORAGE_SECRETS[0],
        alias="MODAL_STORAGE_SECRET",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="the secret with the bucket's keys: `wasabi`, `wasabi-credentials` or another name",
    )

    extract_gpu: Gpu = Field("T4", alias="MODAL_EXTRACT_GPU", description="`none` for a container without")
    crop_infer_gpu: Gpu = Field("A10G", alias="MODAL_CROP_INFER_GPU", description="`none` for none")
    caption_ocr_gpu: Gpu = Field("T4", alias="MODAL_CAPTION_OCR_GPU", description="`none` for none")

    extract_timeout: Seconds = Field(1800, alias="MODAL_EXTRACT_TIMEOUT", description="seconds of one call")
    crop_infer_timeout: Seconds = Field(
        3600, alias="MODAL_CROP_INFER_TIMEOUT", description="seconds of one call"
    )
    caption_ocr_timeout: Seconds = Field(
        300, alias="MODAL_CAPTION_OCR_TIMEOUT", description="seconds of one attempt"
    )

    extract_max_containers: Containers = Field(10, alias="MODAL_EXTRACT_MAX_CONTAINERS")
    crop_infer_max_containers: Containers = Field(10, alias="MODAL_CROP_INFER_MAX_CONTAINERS")
    caption_ocr_max_containers: Containers = Field(10, alias="MODAL_CAPTION_OCR_MAX_CONTAINERS")

    extract_cpu: Cores = Field(4, alias="MODAL_EXTRACT_CPU", description="cores, and workers, of a container")
    crop_infer_cpu: Cores = Field(8, alias="MODAL_CROP_INFER_CPU", description="cores: decoding and VP9")
    caption_ocr_cpu: Cores = Field(4, alias="MODAL_CAPTION_OCR_CPU", description="cores, and workers")
    memory_mib: Mebibytes = Field(8192, alias="MODAL_MEMORY_MIB", description="memory of a container")
    scaledown_seconds: Annotated[int, Field(ge=2, le=3600)] = Field(
        60, alias="MODAL_SCALEDOWN_SECONDS", description="time that an idle container is kept and billed"
    )

    extents_predictor: Literal["strokes", "network"] = Field(
        "network", alias="EXTENTS_PREDICTOR", description="the trained network, or strokes without a model"
    )
    extents_model: str = Field(
        "",
        alias="EXTENTS_MODEL",
        pattern=rf"^({MODEL_NAME})?$",
        description="model file on the volume; the shipped one when unset",
    )
    extents_block: Annotated[int, AfterValidator(check_block)] = Field(
        DEFAULT_BLOCK,
        alias="MODAL_EXTENTS_BLOCK",
        description="strips that a GPU judges together: 32, 64, 128 …",
    )
    gpu_decoding: bool = Field(
        True,
        alias="MODAL_GPU_DECODING",
        description="a GPU decodes the videos that it can, for cropping; software decodes the others",
    )
    ocr_engine: Literal["", "rapidocr", "tesseract", "google_vision"] = Field(
        "", alias="OCR_ENGINE", description="default: Google Vision if its secret has content, else RapidOCR"
    )
    ocr_language: str = Field(
        "", alias="OCR_LANGUAGE", description="BCP-47 tags of the captions' languages; Tesseract's packs"
    )
    ocr_model_mirror: str = Field("", alias="OCR_MODEL_MIRROR")
    ocr_cuda: bool = Field(
        False,
        alias="MODAL_OCR_CUDA",
        description="RapidOCR on the GPU; on the CPU its results are the same as locally",
    )
    vision_endpoint: str = Field("", alias="GOOGLE_VISION_ENDPOINT")
    vision_language_hints: str = Field("", alias="GOOGLE_VISION_LANGUAGE_HINTS")
    vision_montage: Annotated[int, Field(ge=1)] | None = Field(
        None, alias="GOOGLE_VISION_MONTAGE", description="largest number of frames per image at Google Vision"
    )

    @field_validator("ocr_language")
    @classmethod
    def _languages(cls, value: str) -> str:
        try:
            return ",".join(parse_languages(value))
        except ConfigurationError as error:
            raise ValueError(str(error)) from None

    @field_validator("extract_gpu", "crop_infer_gpu", "caption_ocr_gpu")
    @classmethod
    def _upper(cls, gpu: str) -> str:
        return "none" if gpu.lower() == "none" else gpu.upper()

    @property
    def ocr_languages(self) -> tuple[str, ...]:
        """The languages of ``OCR_LANGUAGE``."""
        return tuple(filter(None, self.ocr_language.split(",")))

    def function(self, name: str) -> FunctionSettings:
        """Return the options of the function ``name``. Raises ``KeyError`` for another name."""
        vision = (self.storage_secret, VISION_SECRET)
        prefix, retries, secrets = {
            EXTRACT: ("extract", 0, vision),
            CROP_AND_INFER: ("crop_infer", 0, (self.storage_secret,)),
            CAPTION_OCR: ("caption_ocr", 1, vision),
            INFER: ("crop_infer", 0, (self.storage_secret,)),
        }[name]
        gpu = getattr(self, f"{prefix}_gpu")
        return FunctionSettings(
            name=name,
            gpu=None if gpu == "none" else gpu,
            timeout_seconds=getattr(self, f"{prefix}_timeout"),
            retries=retries,
            max_containers=getattr(self, f"{prefix}_max_containers"),
            cpu=getattr(self, f"{prefix}_cpu"),
            memory_mib=self.memory_mib,
            secrets=secrets,
        )

    def system_packages(self) -> tuple[str, ...]:
        """Return the image's Debian packages: Tesseract with the languages' packs, if it is the engine."""
        if self.ocr_engine != "tesseract":
            return ()
        from modal_gpu.ocr.tesseract_packs import debian_package

        return ("tesseract-ocr", *dict.fromkeys(map(debian_package, self.ocr_languages)))

    def container_environment(self) -> dict[str, str]:
        """Return the settings as environment variables for the container, except Modal's environment."""
        fields = type(self).model_fields
        given = {str(fields[name].alias): value for name, value in self if name != "environment"}
        return {name: str(value) for name, value in given.items() if value not in ("", None)}


def modal_settings() -> ModalSettings:
    """Read the settings from the environment. Raises :class:`ConfigurationError` with what is wrong."""
    try:
        return ModalSettings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"the settings of the Modal app are not valid: {wrong}") from None
