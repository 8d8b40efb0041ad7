"""Calls of Google Vision: credentials, channel, tries and errors. Needs google-cloud-vision."""

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

from modal_gpu.error_table import Meaning, look_up
from modal_gpu.errors import ConfigurationError, OcrError, OcrUnavailableError, RefusedImageError
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.ocr.vision_tally import ImageTally

_SCOPES = ("https://www.googleapis.com/auth/cloud-vision",)
_LONGEST_WAIT_SECONDS = 30.0


class _SomeImagesWait(Exception):
    """The call went through, but Vision had a passing error for some of its images."""


class _CallWaits(Exception):
    """The call failed with an error that may pass."""


class VisionClient:
    """One channel to the service, for one thread; :meth:`close` may come from another one."""

    def __init__(self, settings: VisionSettings, tally: ImageTally | None = None) -> None:
        """Connects at the first call. Raises :class:`ConfigurationError` without usable credentials.

        ``tally`` counts the images that Vision has answered, which is what Google bills.
        """
        self.settings = settings
        self.tally = tally or ImageTally()
        self._closed = threading.Event()
        self._client = _open(settings)
        self._context = vision_v1.ImageContext(language_hints=list(settings.language_hints))
        self._feature = vision_v1.Feature(type_=vision_v1.Feature.Type.DOCUMENT_TEXT_DETECTION)

    def annotate(self, images: Sequence[bytes]) -> list["vision_v1.TextAnnotation | OcrError"]:
        """The text of each image of one request (encoded images within the limits), in their order.

        Quota and other passing errors, of the call or of single images, are tried again with growing
        waits, by the table of errors; what then still fails has its :class:`OcrUnavailableError`, and what
        Vision does not take a :class:`RefusedImageError`. Raises :class:`ConfigurationError` when Vision
        refuses the credentials.
        """
        answers: list[vision_v1.TextAnnotation | OcrError | None] = [None] * len(images)
        last: dict[int, str] = {}

        def attempt() -> None:
            waiting = [index for index, answer in enumerate(answers) if answer is None]
            try:
                responses = self._call([images[index] for index in waiting])
            except google_errors.GoogleAPICallError as error:
                if _meaning_of(error).passes:
                    raise _CallWaits(_message(error)) from None
                raise
            for index, response in zip(waiting, responses, strict=True):
                code, message = response.error.code, response.error.message
                if not code:
                    answers[index] = response.full_text_annotation
                    self.tally.add()
                elif _meaning(_code_name(code), message).passes:
                    last[index] = f"{_code_name(code)}: {message}"
                elif _meaning(_code_name(code), message).is_operators:
                    raise _refusal(f"{_code_name(code)}: {message}")
                else:
                    answers[index] = RefusedImageError(f"Google Vision: {_code_name(code)}: {message}")
            if None in answers:
                raise _SomeImagesWait

        try:
            self._retrying()(attempt)
        except RetryError as error:
            cause = error.last_attempt.exception()
            for index, answer in enumerate(answers):
                if answer is None:
                    why = last.get(index) if isinstance(cause, _SomeImagesWait) else cause
                    answers[index] = OcrUnavailableError(f"Google Vision, after several tries: {why}")
        except google_errors.GoogleAPICallError as error:
            if _meaning_of(error).is_operators:
                raise _refusal(_message(error)) from None
            if self._closed.is_set():
                return [OcrError("Google Vision: the connection was closed") for _ in images]
            if len(images) > 1:
                # One of them may be what the service does not take.
                return [answer for image in images for answer in self.annotate([image])]
            answers = [RefusedImageError(f"Google Vision: {_message(error)}") for _ in images]
        return [answer for answer in answers if answer is not None]

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
            if self._closed.is_set():  # gRPC's answer to a call on a closed channel
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
            retry=retry_if_exception_type((_CallWaits, _SomeImagesWait)),
            wait=wait_exponential(multiplier=first, max=_LONGEST_WAIT_SECONDS) + wait_random(0, first),
            stop=stop_any(stop_before_delay(self.settings.retry_seconds), stop_when_event_set(self._closed)),
            sleep=sleep_using_event(self._closed),
        )

    def close(self) -> None:
        """Close the channel: a call under way is cancelled, a wait between two tries ends."""
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
    """A service account's key, or a user's credentials as ``gcloud`` writes them.

    Raises :class:`ConfigurationError`, which never holds any of it, when there is none or it is unusable.
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
    # `from None`: the causes hold the text that they could not read.
    try:
        info = json.loads(text)
    except ValueError:
        raise ConfigurationError(f"{where} holds no JSON: give a service account's key") from None
    kind = info.get("type") if isinstance(info, dict) else None
    try:
        if kind == "service_account":
            return service_account.Credentials.from_service_account_info(info, scopes=_SCOPES)
        if kind == "authorized_user":
            return user_credentials.Credentials.from_authorized_user_info(info, scopes=_SCOPES)
    except (ValueError, auth_errors.GoogleAuthError):
        raise ConfigurationError(f"{where} holds a damaged {kind} key: download it again") from None
    raise ConfigurationError(f"{where} holds no service account's key (nor a user's credentials)")


def _meaning_of(error: google_errors.GoogleAPICallError) -> Meaning:
    code = error.grpc_status_code.name if error.grpc_status_code is not None else str(error.code)
    return _meaning(code, error.message)


def _meaning(code: str, message: str) -> Meaning:
    row = look_up("gRPC", code, text=message)
    return row.meaning if row else Meaning.REFUSED


def _refusal(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"Google Vision refuses the credentials ({reason}): {look_up('gRPC', 'PERMISSION_DENIED').advice}"
    )


def _code_name(code: int) -> str:
    return next((status.name for status in grpc.StatusCode if status.value[0] == code), f"code {code}")


def _message(error: BaseException | None) -> str:
    if isinstance(error, google_errors.GoogleAPICallError) and error.grpc_status_code is not None:
        return f"{error.grpc_status_code.name}: {error.message}"
    return str(error) or type(error).__name__
