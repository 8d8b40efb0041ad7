"""Transfers of strips to a GPU, and of results from it, that run while the GPU computes.

A slot is a buffer in pinned memory with its counterpart on the GPU. Copies run on a stream of their own;
events order them against the computation, so the host only waits when a buffer is still in use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Slot:
    """A buffer of strips, uint8 (n, h, w): ``host`` is filled, ``device`` is computed with."""

    host: Tensor
    device: Tensor


S = TypeVar("S", bound=Slot)


class Transfers(Protocol, Generic[S]):
    """Copies between the memory of the host and that of a device."""

    def slot(self, shape: tuple[int, int, int]) -> S:
        """Return a new slot, filled with zeros."""
        ...

    def wait_until_free(self, slot: S) -> None:
        """Wait until ``slot.host`` was copied and may be filled again."""
        ...

    def upload(self, slot: S, part: slice) -> None:
        """Copy a part of ``slot.host``; computation that is requested after this call finds it."""
        ...

    def used(self, slot: S) -> None:
        """Note that computation with ``slot.device`` was requested; the next upload waits for it."""
        ...

    def download(self, values: Tensor) -> Callable[[], NDArray[np.float32]]:
        """Request a copy of float32 values; return a function that waits for it and returns it."""
        ...


class HostTransfers:
    """The transfers of a CPU: none."""

    def slot(self, shape: tuple[int, int, int]) -> Slot:
        """Return a slot whose two buffers are the same one."""
        buffer = torch.zeros(shape, dtype=torch.uint8)
        return Slot(buffer, buffer)

    def wait_until_free(self, slot: Slot) -> None:
        """Do nothing: computation has ended when it returns."""

    def upload(self, slot: Slot, part: slice) -> None:
        """Do nothing: the buffers are the same."""

    def used(self, slot: Slot) -> None:
        """Do nothing."""

    def download(self, values: Tensor) -> Callable[[], NDArray[np.float32]]:
        """Return the values themselves."""
        return values.numpy


@dataclass(frozen=True)
class _CudaSlot(Slot):
    uploaded: torch.cuda.Event
    used: torch.cuda.Event


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]  # not annotated


class CudaTransfers:
    """Transfers on a stream of their own; computation runs on the current thread's stream.

    An event that was never recorded counts as passed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # not annotated

    def slot(self, shape: tuple[int, int, int]) -> _CudaSlot:
        """Return a slot in pinned memory and on the GPU."""
        host = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        device = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        slot = _CudaSlot(host, device, _event(), _event())
        self.used(slot)  # the zeros are written first
        return slot

    def wait_until_free(self, slot: _CudaSlot) -> None:
        """Wait for the last upload of the slot."""
        slot.uploaded.synchronize()

    def upload(self, slot: _CudaSlot, part: slice) -> None:
        """Copy on the stream of transfers, after the computation that uses the slot's former content."""
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(slot.used)
            slot.device[part].copy_(slot.host[part], non_blocking=True)
            slot.uploaded.record(self._stream)
        torch.cuda.current_stream(self._device).wait_event(slot.uploaded)

    def used(self, slot: _CudaSlot) -> None:
        """Record the computation that was requested up to now."""
        slot.used.record(torch.cuda.current_stream(self._device))

    def download(self, values: Tensor) -> Callable[[], NDArray[np.float32]]:
        """Copy to pinned memory, after the computation; the result waits for this copy alone."""
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        copied = _event()
        copied.record(torch.cuda.current_stream(self._device))

        def result() -> NDArray[np.float32]:
            copied.synchronize()
            return host.numpy()

        return result
