"""The predictor for GPUs, on PyTorch's CPU device: what batches on the CPU give, whatever the blocks are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered_strips import Strip, hints, render, stored_strips
from small_network import network

from modal_gpu.extents.batches import BATCH, BLOCK
from modal_gpu.extents.block_predictor import BlockPredictor
from modal_gpu.extents.network import REACH
from modal_gpu.extents.network_predictor import NetworkPredictor
from modal_gpu.extents.predictor import collect
from modal_gpu.extents.stored_strips import StoredStrips
from modal_gpu.extents.torch_backend import TorchBackend
from modal_gpu.extents.transfers import HostTransfers, Slot

COUNT = 2 * BLOCK + 70
CAPTIONS = [(30 * i, 30 * i + 20, f"Caption {i}") for i in range(COUNT // 30)]


def blocks(block: int = 128, **options) -> BlockPredictor:
    return BlockPredictor(network(), "test-1", "0" * 64, device="cpu", block=block, **options)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def video():
    """Strips of a little more than two blocks, and hints with stored strips of the entire video."""
    frames = render(CAPTIONS, COUNT, "texture")
    stored = stored_strips(frames, range(0, COUNT, 50))
    return frames, replace(hints(CAPTIONS, COUNT), samples=stored)


@pytest.fixture(scope="module")
def expected(video):
    """What batches of 32 give, which OpenCV scales."""
    frames, layout = video
    return collect(NetworkPredictor(TorchBackend(network()), "t", "0").predict(frames, layout))


@pytest.fixture(scope="module")
def whole(video):
    frames, layout = video
    return collect(blocks().predict(frames, layout))


def assert_close(found, expected):
    np.testing.assert_allclose(found.presence, expected.presence, atol=1e-3)
    np.testing.assert_allclose(found.forward, expected.forward, atol=1e-3)


@pytest.mark.parametrize("block", [32, 512, 1024])
def test_blocks_give_what_batches_give(video, expected, block):
    frames, layout = video
    assert_close(collect(blocks(block).predict(iter(frames), layout)), expected)


@pytest.mark.parametrize("count", [0, 1, 2, REACH, BATCH, BATCH + 1, 3 * BATCH])
def test_short_videos_are_judged_by_their_own_strips(video, count):
    frames, layout = video[0][:count], replace(video[1], samples=StoredStrips())
    batches = NetworkPredictor(TorchBackend(network()), "t", "0").predict(frames, layout)
    found = collect(blocks(32).predict(iter(frames), layout))
    assert found.frame_count == count
    assert_close(found, collect(batches))


def test_a_video_without_stored_strips_has_a_reference_picture_for_each_block(video):
    frames, layout = video[0][: BLOCK + 40], replace(video[1], samples=StoredStrips())
    batches = NetworkPredictor(TorchBackend(network()), "t", "0").predict(frames, layout)
    expected = collect(batches)
    for block in (64, 1024):
        assert_close(collect(blocks(block).predict(iter(frames), layout)), expected)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(0, COUNT // BATCH - 1), st.integers(1, COUNT))
def test_a_part_with_its_margin_is_judged_as_in_the_whole_video(video, whole, begin, length):
    frames, layout = video
    predictor = blocks()
    start, stop = BATCH * begin, min(COUNT, BATCH * begin + length)
    first, last = max(0, start - predictor.margin), min(COUNT, stop + predictor.margin)
    batches = list(predictor.predict(iter(frames[first:last]), layout, first_index=first))
    assert batches[0].first_index == first
    own = slice(start - first, stop - first)
    presence = np.concatenate([batch.presence for batch in batches])[own]
    np.testing.assert_array_equal(presence, whole.presence[start:stop])
    pairs = collect([replace(batch, first_index=batch.first_index - first) for batch in batches]).forward
    inner = slice(own.start, own.stop - 1)
    np.testing.assert_array_equal(pairs[inner], whole.forward[start : stop - 1])


def test_the_block_is_halved_until_it_fits_into_memory(video, whole, caplog):
    frames, layout = video
    predictor = blocks(512)
    encode, maps = predictor.network.encode, predictor.network.maps

    def small_encode(strips, reference):
        if len(strips) > 256:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(strips, reference)

    def smaller_maps(features, planes, first, last):
        if last - first > 128:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return maps(features, planes, first, last)

    predictor.network.encode, predictor.network.maps = small_encode, smaller_maps
    assert_close(collect(predictor.predict(iter(frames), layout)), whole)
    assert predictor.block == 128
    assert [record.args for record in caplog.records] == [(512, 256), (256, 128)]


def test_a_gpu_that_cannot_hold_the_smallest_block_is_an_error(video):
    frames, layout = video
    predictor = blocks(64)

    def encode(strips, reference):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    predictor.network.encode = encode
    with pytest.raises(torch.OutOfMemoryError):
        list(predictor.predict(iter(frames), layout))
    assert predictor.block == 32


@pytest.mark.parametrize("block", [0, 16, 48, 500, 16384])
def test_a_block_is_a_power_of_two(block):
    with pytest.raises(ValueError, match="32, 64, 128"):
        blocks(block)


def test_wrong_strips_are_refused(video):
    frames, layout = video
    predictor = blocks(32)
    with pytest.raises(ValueError, match="multiple"):
        list(predictor.predict(iter(frames[40:]), layout, first_index=40))
    with pytest.raises(ValueError, match="whole"):
        list(predictor.predict(iter(frames[32:64]), replace(layout, samples=StoredStrips()), first_index=32))
    with pytest.raises(ValueError, match="expected"):
        list(predictor.predict(iter([frames[0], frames[2]]), layout))
    with pytest.raises(ValueError, match="before"):
        list(predictor.predict(iter([frames[0], Strip(1, frames[1].luma[:, :-8])]), layout))


class LateTransfers(HostTransfers):
    """A device whose copies happen as late as the interface allows, and whose buffers are its own.

    An upload is carried out when its slot is waited for or used; until then the host's buffer must stay as it
    is. A result arrives when it is asked for.
    """

    def __init__(self):
        self.log, self._pending, self._busy = [], {}, set()

    def slot(self, shape):
        return Slot(torch.zeros(shape, dtype=torch.uint8), torch.full(shape, 99, dtype=torch.uint8))

    def wait_until_free(self, slot):
        assert id(slot) not in self._pending, "filled before its computation was requested"
        self._busy.add(id(slot))

    def upload(self, slot, part):
        assert id(slot) in self._busy, "filled without waiting for the copy before"
        self._busy.remove(id(slot))
        slot.device[part] = slot.host[part]
        self._pending[id(slot)] = slot.host.clone()

    def used(self, slot):
        assert torch.equal(self._pending.pop(id(slot)), slot.host), "changed while it was copied"
        slot.device.fill_(99)  # a later use would find other strips
        slot.host.fill_(99)
        self.log.append(len(self.log))

    def download(self, values):
        arrived = []

        def result():
            assert not arrived, "downloaded twice"
            arrived.append(True)
            return values.numpy()

        return result


def test_transfers_are_waited_for(video, expected):
    frames, layout = video
    transfers = LateTransfers()
    found = collect(blocks(512, transfers=transfers).predict(iter(frames), layout))
    assert_close(found, expected)
    assert len(transfers.log) == 9  # 8 full chunks of 128 strips, and the rest


def test_at_most_one_unit_is_in_flight_beyond_those_that_results_depend_on(video):
    frames, layout = video
    read = 0

    def counted():
        nonlocal read
        for index in range(6 * BLOCK):
            read += 1
            yield Strip(index, frames[index % COUNT].luma)

    first = next(blocks(512).predict(counted(), layout))
    # The unit itself, the two that it depends on, and the one in flight.
    assert (first.first_index, len(first.presence), read) == (0, BLOCK, 4 * BLOCK)


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(video, expected):
    """In half precision: the same most probable labels but for close ones, and probabilities nearby."""
    frames, layout = video
    predictor = BlockPredictor(network(), "t", "0", device="cuda")
    first, second = (collect(predictor.predict(iter(frames), layout)) for _ in range(2))
    np.testing.assert_array_equal(first.forward, second.forward)
    np.testing.assert_allclose(first.forward, expected.forward, atol=0.05)
    batches = list(predictor.predict(iter(frames[BLOCK - BATCH :]), layout, first_index=BLOCK - BATCH))
    presence = np.concatenate([batch.presence for batch in batches])[BATCH:]
    np.testing.assert_array_equal(presence, first.presence[BLOCK:])
