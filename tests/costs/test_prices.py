"""The price table: list prices, their replacement by settings, Modal's names of GPUs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.deployment.settings import FUNCTIONS, ModalSettings
from modal_gpu.errors import ConfigurationError
from modal_gpu.prices import CPU_CORE_SECOND, GPU_SECOND, MEMORY_GIB_SECOND, PriceTable

LIST = PriceTable()
AMOUNTS = st.floats(0, 1, allow_nan=False)


def test_an_hour_costs_what_the_price_list_says_in_hours():
    hours = {"T4": 0.59, "L4": 0.80, "A10": 1.10, "L40S": 1.95, "A100-80GB": 2.50, "H100": 3.95, "B200": 6.25}
    assert {name: round(LIST.gpu(name) * 3600, 2) for name in hours} == hours


@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("A10G", GPU_SECOND["A10"]),
        ("a10g", GPU_SECOND["A10"]),
        ("A100", GPU_SECOND["A100-40GB"]),
        ("H100!", GPU_SECOND["H100"]),
        ("B200+", GPU_SECOND["B200"]),
        ("T4:4", 4 * GPU_SECOND["T4"]),
        ("H100!:8", 8 * GPU_SECOND["H100"]),
        ("none", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_modals_names_of_a_gpu_are_known(name: str | None, price: float):
    assert LIST.gpu(name) == pytest.approx(price)


@pytest.mark.parametrize("name", ["V100", "T4:0", "T4:x", "T4:2:2", ":"])
def test_the_error_for_a_gpu_without_a_price_explains_how_to_set_one(name: str):
    with pytest.raises(ConfigurationError, match="CAPTIONACC_PRICES"):
        LIST.gpu(name)


def test_every_gpu_of_the_app_has_a_price():
    app = ModalSettings(_env_file=None)
    for function in FUNCTIONS:
        assert LIST.gpu(app.function(function).gpu) > 0


def test_google_bills_images_by_the_thousand():
    assert LIST.vision(2000) == 3.0
    assert PriceTable.from_json('{"vision_thousand_images": 0.6}').vision(500) == 0.3


@given(cpu=st.floats(0.1, 64), memory=st.integers(128, 344_064), gpu=st.sampled_from(sorted(GPU_SECOND)))
def test_a_second_is_the_sum_of_its_parts(cpu: float, memory: int, gpu: str):
    second = LIST.container_second(gpu, cpu, memory)
    parts = GPU_SECOND[gpu] + cpu * CPU_CORE_SECOND + memory / 1024 * MEMORY_GIB_SECOND
    assert second == pytest.approx(parts)


@given(price=AMOUNTS, core=AMOUNTS)
def test_settings_replace_only_the_prices_they_name(price: float, core: float):
    table = PriceTable.from_json(json.dumps({"gpu_second": {"a10g": price}, "cpu_core_second": core}))
    assert table.gpu("A10") == table.gpu("A10G") == price
    assert table.cpu_core_second == core
    assert table.gpu("T4") == GPU_SECOND["T4"]
    assert table.memory_gib_second == MEMORY_GIB_SECOND


def test_a_new_gpu_can_be_given_a_price():
    assert PriceTable.from_json('{"gpu_second": {"X1": 0.5}}').gpu("x1:2") == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "1",
        '{"gpu": {"T4": 1}}',
        '{"gpu_second": 1}',
        '{"gpu_second": {"T4": "1"}}',
        '{"gpu_second": {"T4": -1}}',
        '{"gpu_second": {"T4": NaN}}',
        '{"gpu_second": {"T4": Infinity}}',
        '{"gpu_second": {"T4": true}}',
        '{"vision_thousand_images": null}',
    ],
)
def test_invalid_prices_are_refused_by_their_setting(text: str):
    with pytest.raises(ConfigurationError, match="CAPTIONACC_PRICES"):
        PriceTable.from_json(text)


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_without_settings_the_list_prices_apply(text: str):
    assert PriceTable.from_json(text) == LIST
