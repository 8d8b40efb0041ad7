"""Google Vision's client: credentials, channel, retries and errors. Requires google-cloud-vision."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import grpc
from google.api_core import exceptions as google_errors
from google.api_core.client_options import ClientOptions
from google.auth import exceptions as auth_errors
from google.auth.credentials import Credentials
from google.cloud import vision_v1
from google.cloud.vision_v1.services.image_annotator.transports import ImageAnnotatorGrpcTransport
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_any,
    stop_before_delay,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)
from tenacity.nap import sleep_using_event

from modal_gpu.error_table import VISION_ADVICE, Meaning, look_up
from modal_gpu.errors import ConfigurationError, OcrError, OcrUnavailableError, RefusedImageError
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.ocr.vision_tally import ImageTally

_SCOPES = ("https://www.googleapis.com/auth/cloud-vision",)
_LONGEST_WAIT_SECONDS = 30.0


#: The answer for one image: its text, or the error that it ended with.
Answer = vision_v1.TextAnnotation | OcrError


class _ImagesUnanswered(Exception):
    """The call succeeded, but had transient errors for some of its images."""


class _CallFailed(Exception):
    """The call failed with a transient error."""


class _Answers:
    """The answers for one request's images, collected over several attempts."""

    def __init__(self, count: int) -> None:
        self._answers: list[Answer | None] = [None] * count
        self._last_errors: dict[int, str] = {}

    @property
    def missing(self) -> list[int]:
        """Positions of the images without an answer."""
        return [index for index, answer in enumerate(self._answers) if answer is None]

    def add(self, index: int, response: Any) -> bool:
        """Store one image's response; return whether Vision read the image.

        A transient error is remembered for :meth:`give_up`. Raises :class:`ConfigurationError` for refused
        credentials.
        """
        if not response.error.code:
            self._answers[index] = response.full_text_annotation
            return True
        code, message = _code_name(response.error.code), response.error.message
        meaning = _meaning(code, message)
        if meaning.is_operators:
            raise _refusal(f"{code}: {message}")
        if meaning.passes:
            self._last_errors[index] = f"{code}: {message}"
        else:
            self._answers[index] = RefusedImageError(f"Google Vision: {code}: {message}")
        return False

    def give_up(self, cause: BaseException | None) -> None:
        """Store an error for each missing answer: the image's last one, or that of the last call."""
        for index in self.missing:
            why = self._last_errors.get(index) if isinstance(cause, _ImagesUnanswered) else cause
            self._answers[index] = OcrUnavailableError(f"Google Vision, after several tries: {why}")

    def all(self) -> list[Answer]:
        """Return the answers in the order of the images."""
        return [answer for answer in self._answers if answer is not None]


class VisionClient:
    """One channel to the service, for one thread; :meth:`close` may be called from another thread."""

    def __init__(self, settings: VisionSettings, tally: ImageTally | None = None) -> None:
        """Load the credentials; the first call connects. ``tally`` counts answered images, which are billed.

        Raises :class:`ConfigurationError` without usable credentials.
        """
        self.settings = settings
        self.tally = tally or ImageTally()
        self._closed = threading.Event()
        self._client = _open(settings)
        self._context = vision_v1.ImageContext(language_hints=list(settings.language_hints))
        self._feature = vision_v1.Feature(type_=vision_v1.Feature.Type.DOCUMENT_TEXT_DETECTION)

    def annotate(self, images: Sequence[bytes]) -> list[Answer]:
        """Return the text of each image of one request (encoded images within the limits), in order.

        Quota and other transient errors (see the table of errors), of the call or of single images, are
        retried with growing waits. An image that still fails has an :class:`OcrUnavailableError`, one that
        Vision rejects a :class:`RefusedImageError`. Raises :class:`ConfigurationError` for refused
        credentials.
        """
        answers = _Answers(len(images))
        try:
            self._retrying()(self._attempt, images, answers)
        except RetryError as error:
            answers.give_up(error.last_attempt.exception())
        except google_errors.GoogleAPICallError as error:
            if _meaning_of(error).is_operators:
                raise _refusal(_message(error)) from None
            if self._closed.is_set():
                return [OcrError("Google Vision: the connection was closed") for _ in images]
            if len(images) > 1:
                # A single image may have caused the rejection.
                return [answer for image in images for answer in self.annotate([image])]
            return [RefusedImageError(f"Google Vision: {_message(error)}") for _ in images]
        return answers.all()

    def _attempt(self, images: Sequence[bytes], answers: _Answers) -> None:
        """Ask once for the missing answers. Raises an error to retry on while any is missing."""
        missing = answers.missing
        try:
            responses = self._call([images[index] for index in missing])
        except google_errors.GoogleAPICallError as error:
            if _meaning_of(error).passes:
                raise _CallFailed(_message(error)) from None
            raise
        for index, response in zip(missing, responses, strict=True):
            if answers.add(index, response):
                self.tally.add()
        if answers.missing:
            raise _ImagesUnanswered

    def _call(self, images: Sequence[bytes]) -> Sequence[Any]:
        requests = [
            vision_v1.AnnotateImageRequest(
                image=vision_v1.Image(content=image), features=[self._feature], image_context=self._context
            )
            for image in images
        ]
        try:
            reply = self._client.batch_annotate_images(
                requests=requests, timeout=self.settings.call_seconds, retry=None
            )
        except ValueError as error:
            if self._closed.is_set():  # gRPC raises ValueError for a call on a closed channel
                raise google_errors.Cancelled("the connection was closed") from error
            raise
        if len(reply.responses) != len(images):
            raise google_errors.InternalServerError(
                f"{len(reply.responses)} answers for {len(images)} images"
            )
        return reply.responses

    def _retrying(self) -> Retrying:
        first = self.settings.first_wait_seconds
        return Retrying(
            retry=retry_if_exception_type((_CallFailed, _ImagesUnanswered)),
            wait=wait_exponential(multiplier=first, max=_LONGEST_WAIT_SECONDS) + wait_random(0, first),
            stop=stop_any(stop_before_delay(self.settings.retry_seconds), stop_when_event_set(self._closed)),
            sleep=sleep_using_event(self._closed),
        )

    def close(self) -> None:
        """Close the channel: this cancels a call in progress and ends a wait between two attempts."""
        self._closed.set()
        self._client.transport.close()


def _open(settings: VisionSettings) -> vision_v1.ImageAnnotatorClient:
    if settings.is_loopback:
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
        ]
        channel = grpc.insecure_channel(settings.endpoint, options=options)
        return vision_v1.ImageAnnotatorClient(transport=ImageAnnotatorGrpcTransport(channel=channel))
    return vision_v1.ImageAnnotatorClient(
        credentials=load_credentials(settings), client_options=ClientOptions(api_endpoint=settings.endpoint)
    )


def load_credentials(settings: VisionSettings) -> Credentials:
    """Load a service account's key, or a user's credentials as ``gcloud`` writes them.

    Raises :class:`ConfigurationError` if there are none or they are unusable; it never contains any of them.
    """
    if settings.credentials_json:
        where, text = "GOOGLE_APPLICATION_CREDENTIALS_JSON", settings.credentials_json
    elif settings.credentials_file:
        where = f"the file {settings.credentials_file} (GOOGLE_APPLICATION_CREDENTIALS)"
        try:
            text = settings.credentials_file.read_text()
        except OSError as error:
            raise ConfigurationError(f"{where} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            text = ""
    else:
        raise ConfigurationError(
            "OCR_ENGINE=google_vision needs credentials: set GOOGLE_APPLICATION_CREDENTIALS to the file of a "
            "service account's key, or GOOGLE_APPLICATION_CREDENTIALS_JSON to its content "
            "(on Modal: the secret google-vision), or set OCR_ENGINE=rapidocr"
        )
    # `from None`: the causes contain the text that they could not parse.
    try:
        info = json.loads(text)
    except ValueError:
        raise ConfigurationError(f"{where} contains no JSON: set a service account's key") from None
    kind = info.get("type") if isinstance(info, dict) else None
    try:
        if kind == "service_account":
            return service_account.Credentials.from_service_account_info(info, scopes=_SCOPES)
        if kind == "authorized_user":
            return user_credentials.Credentials.from_authorized_user_info(info, scopes=_SCOPES)
    except (ValueError, auth_errors.GoogleAuthError):
        raise ConfigurationError(f"{where} contains a damaged {kind} key: download it again") from None
    raise ConfigurationError(f"{where} contains neither a service account's key nor a user's credentials")


def _meaning_of(error: google_errors.GoogleAPICallError) -> Meaning:
    code = error.grpc_status_code.name if error.grpc_status_code is not None else str(error.code)
    return _meaning(code, error.message)


def _meaning(code: str, message: str) -> Meaning:
    row = look_up("gRPC", code, text=message)
    return row.meaning if row else Meaning.REFUSED


def _refusal(reason: str) -> ConfigurationError:
    return ConfigurationError(f"Google Vision refuses the credentials ({reason}): {VISION_ADVICE}")


def _code_name(code: int) -> str:
    return next((status.name for status in grpc.StatusCode if status.value[0] == code), f"code {code}")


def _message(error: BaseException | None) -> str:
    if isinstance(error, google_errors.GoogleAPICallError) and error.grpc_status_code is not None:
        return f"{error.grpc_status_code.name}: {error.message}"
    return str(error) or type(error).__name__
