"""A typed client of the deployed functions, for programs without the platform.

::

    client = ProcessingClient()
    extracted = client.extract_frames_and_ocr(video_key, tenant_id, video_id)
    cropped = client.crop_and_infer_caption_frame_extents(video_key, tenant_id, video_id, crop_region)
    caption = client.generate_caption_ocr(cropped.cropped_frames_prefix, 12, 30)

Only plain data crosses the wire. Errors of the functions have their classes in :mod:`modal_gpu.errors`;
failures on the way are a :class:`~modal_gpu.errors.RemoteCallError`, or a
:class:`~modal_gpu.errors.ConfigurationError` if an operator has to act. ``modal`` is imported at the first
call.
"""

import importlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from modal_gpu.answers import error_from_wire, incoming
from modal_gpu.client_errors import UNANSWERED, row_of
from modal_gpu.contracts import (
    CaptionOcrResult,
    CropInferResult,
    CropRegion,
    ExtractResult,
    InferenceBatchResult,
    from_wire,
    to_wire,
)
from modal_gpu.deployment.calls import CONTRACT
from modal_gpu.deployment.settings import CAPTION_OCR, CROP_AND_INFER, EXTRACT, INFER, stream_of
from modal_gpu.error_table import Meaning
from modal_gpu.errors import (
    CaptionAccError,
    ConfigurationError,
    RemoteCallError,
    RemoteCancelledError,
    RemoteInterruptedError,
    RemoteTimeoutError,
    RemoteUnavailableError,
)
from modal_gpu.frame_rates import CROP_RATE, FULL_FRAME_RATE

T = TypeVar("T")
#: Is called with a percentage and a text.
Listener = Callable[[int, str], None]


class ExtractFramesAndOcr(Protocol):
    """``extract_frames_and_ocr``: a video's full frames, their text and the caption layout."""

    def __call__(
        self, video_key: str, tenant_id: str, video_id: str, frame_rate: float = FULL_FRAME_RATE
    ) -> ExtractResult:
        """Raise :class:`~modal_gpu.errors.FrameRateError` for a rate above 1 Hz."""
        ...


class CropAndInferCaptionFrameExtents(Protocol):
    """``crop_and_infer_caption_frame_extents``: the caption strip in chunks, and its pair labels."""

    def __call__(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        crop_region: CropRegion,
        frame_rate: float = CROP_RATE,
    ) -> CropInferResult:
        """Raise :class:`~modal_gpu.errors.FrameRateError` for another rate than 10, 5, 2 or 1 Hz."""
        ...


class GenerateCaptionOcr(Protocol):
    """``generate_caption_ocr``: the text of one caption, frames ``[start_frame, end_frame)``."""

    def __call__(self, chunks_prefix: str, start_frame: int, end_frame: int) -> CaptionOcrResult: ...


class RunBoundaryInferenceBatch(Protocol):
    """``run_boundary_inference_batch``: the pair labels of stored chunks, by a model that is named."""

    def __call__(
        self,
        video_id: str,
        tenant_id: str,
        cropped_frames_version: int,
        model_version: str,
        run_id: str | None = None,
        frame_pairs: Sequence[tuple[int, int]] | None = None,
    ) -> InferenceBatchResult: ...


@dataclass(frozen=True)
class Pending(Generic[T]):
    """A call that was started; ``call_id`` is Modal's, by which another process can find it."""

    call_id: str
    function: str
    _client: "ProcessingClient"
    _kind: type[T]

    def get(self, timeout: float | None = None) -> T:
        """Wait for the result, at most ``timeout`` seconds. Raises ``TimeoutError`` if it is not ready."""
        try:
            answer = self._handle().get(timeout=timeout)
        except TimeoutError:
            raise
        except Exception as error:
            raise _typed_error(error, self.function, starting=False) from error
        return _result(answer, self._kind)

    def cancel(self) -> None:
        """Stop the call; its GPU is free a moment later."""
        with _typed_errors(self.function, starting=False):
            self._handle().cancel()

    def _handle(self) -> Any:
        return self._client.modal.FunctionCall.from_id(self.call_id)


@dataclass
class ProcessingClient:
    """The functions of a deployed app. Each blocks until its result is in the bucket.

    ``environment`` is Modal's; ``None``: that of the token's profile. ``module`` replaces the module
    ``modal``. With a listener as ``on_progress`` a call goes to the function's generator variant.
    :meth:`spawn` starts a call without waiting for it.
    """

    app_name: str = "captionacc-processing"
    environment: str | None = None
    module: Any = field(default=None, repr=False)

    def extract_frames_and_ocr(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        frame_rate: float = FULL_FRAME_RATE,
        *,
        on_progress: Listener | None = None,
        **further: Any,
    ) -> ExtractResult:
        """See :class:`ExtractFramesAndOcr`; ``further``: ``outputs``, ``languages`` …"""
        given = {
            "video_key": video_key, "tenant_id": tenant_id, "video_id": video_id, "frame_rate": frame_rate,
        }  # fmt: skip
        return self._call(EXTRACT, ExtractResult, given | further, on_progress)

    def crop_and_infer_caption_frame_extents(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        crop_region: CropRegion,
        frame_rate: float = CROP_RATE,
        *,
        on_progress: Listener | None = None,
        **further: Any,
    ) -> CropInferResult:
        """See :class:`CropAndInferCaptionFrameExtents`; ``further``: ``version``, ``run_id``, ``zones`` …"""
        given = {
            "video_key": video_key, "tenant_id": tenant_id, "video_id": video_id, "crop_region": crop_region,
            "frame_rate": frame_rate,
        }  # fmt: skip
        return self._call(CROP_AND_INFER, CropInferResult, given | further, on_progress)

    def generate_caption_ocr(
        self,
        chunks_prefix: str,
        start_frame: int,
        end_frame: int,
        *,
        on_progress: Listener | None = None,
        **further: Any,
    ) -> CaptionOcrResult:
        """See :class:`GenerateCaptionOcr`; ``further``: ``crop_region``, ``frame_count``, ``languages``."""
        given = {"chunks_prefix": chunks_prefix, "start_frame": start_frame, "end_frame": end_frame}
        return self._call(CAPTION_OCR, CaptionOcrResult, given | further, on_progress)

    def run_boundary_inference_batch(
        self,
        video_id: str,
        tenant_id: str,
        cropped_frames_version: int,
        model_version: str,
        run_id: str | None = None,
        frame_pairs: Sequence[tuple[int, int]] | None = None,
        *,
        on_progress: Listener | None = None,
    ) -> InferenceBatchResult:
        """See :class:`RunBoundaryInferenceBatch`."""
        given = {
            "video_id": video_id,
            "tenant_id": tenant_id,
            "cropped_frames_version": cropped_frames_version,
            "model_version": model_version,
            "run_id": run_id,
            "frame_pairs": frame_pairs,
        }
        return self._call(INFER, InferenceBatchResult, given, on_progress)

    def spawn(self, function: str, kind: type[T], **keywords: Any) -> Pending[T]:
        """Start a call of a function by its name. ``kind``: its result's, such as ``ExtractResult``."""
        with _typed_errors(function, starting=True):
            call = self._function(function).spawn(**_plain(keywords), contract=CONTRACT)
        return Pending(call.object_id, function, self, kind)

    @property
    def modal(self) -> Any:
        """The module ``modal``. Raises :class:`ConfigurationError` when it is not installed."""
        if self.module is None:
            try:
                self.module = importlib.import_module("modal")
            except ImportError:
                raise ConfigurationError("Modal's client is not installed: pip install modal") from None
        return self.module

    def _function(self, name: str) -> Any:
        return self.modal.Function.from_name(self.app_name, name, environment_name=self.environment)

    def _call(
        self, function: str, kind: type[T], given: Mapping[str, Any], on_progress: Listener | None
    ) -> T:
        keywords = _plain(given)
        if on_progress is not None:
            with closing(self._items(function, keywords)) as items:
                return _streamed(items, kind, on_progress)
        with _typed_errors(function, starting=True):
            answer = self._function(function).remote(**keywords, contract=CONTRACT)
        return _result(answer, kind)

    def _items(self, function: str, keywords: Mapping[str, Any]) -> Generator[Mapping[str, Any], None, None]:
        """Yield what a function's generator variant yields. Closing the generator ends the call."""
        with _typed_errors(function, starting=True):
            yield from self._function(stream_of(function)).remote_gen(**keywords)


if TYPE_CHECKING:
    _client = ProcessingClient()
    _FUNCTIONS: tuple[
        ExtractFramesAndOcr, CropAndInferCaptionFrameExtents, GenerateCaptionOcr, RunBoundaryInferenceBatch
    ] = (
        _client.extract_frames_and_ocr,
        _client.crop_and_infer_caption_frame_extents,
        _client.generate_caption_ocr,
        _client.run_boundary_inference_batch,
    )


def _plain(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords without those that are not given, as JSON-able data."""
    given = {name: value for name, value in keywords.items() if value is not None}
    return {name: _as_data(value) for name, value in given.items()}


def _as_data(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return to_wire(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_data(part) for part in value]
    return value


def _result(answer: Any, kind: type[T]) -> T:
    received = incoming(answer)
    if received.error is not None:
        raise received.error
    return from_wire(kind, received.result)


def _streamed(items: Iterable[Mapping[str, Any]], kind: type[T], on_progress: Listener) -> T:
    for item in items:
        if "status" not in item:
            on_progress(item["progress"], item["message"])
        elif item["status"] == "completed":
            # An inference's result has a status of its own, with the same word.
            own = "status" in getattr(kind, "__dataclass_fields__", {})
            return from_wire(kind, {name: part for name, part in item.items() if own or name != "status"})
        else:
            raise error_from_wire(item["error"])
    raise RemoteInterruptedError("the stream ended without a result; a new call may succeed")


@contextmanager
def _typed_errors(function: str, *, starting: bool) -> Iterator[None]:
    """Raise errors of the block in this project's classes."""
    try:
        yield
    except CaptionAccError:
        raise
    except Exception as error:
        raise _typed_error(error, function, starting=starting) from error


def _typed_error(error: Exception, function: str, *, starting: bool) -> CaptionAccError:
    """Return an error of Modal's client, or one that a function raised, in this project's classes."""
    known = row_of(error, starting=starting)
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    kind: type[CaptionAccError] = {
        Meaning.TIME_OUT: RemoteTimeoutError,
        Meaning.LOST: RemoteInterruptedError,
        Meaning.STOPPED: RemoteCancelledError,
    }.get(known.meaning, RemoteCallError)
    if known.meaning in UNANSWERED:
        kind = RemoteUnavailableError
    if known.meaning.is_operators:
        kind = ConfigurationError
    return kind(f"{function}: {said}" + (f"; {known.advice}" if known.advice else ""))
