"""``captionacc cost``: spending, estimates and limits, as people and as programs read them."""

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from captionacc_dagster.constants import LOCAL_TENANT_ID
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.contracts import CaptionZone, CropRegion
from tests.cli.conftest import Captionacc
from tests.cli.documented_json import as_documented
from tests.line_fixtures import Line
from tests.resources.compute.test_modal_graph import ModalLine

REPOSITORY = Path(__file__).resolve().parents[2]
NOBODY = "11111111-1111-4111-8111-111111111111"
CROPS = "crop_and_infer_caption_frame_extents"


def test_spending_is_shown_by_month_tenant_and_function(
    captionacc: Captionacc, modal_line: ModalLine, laid_out: VideoRow
):
    assert modal_line.run("captions", laid_out.video_id, "cropped_chunks").success
    result = captionacc("cost")
    assert result.code == 0
    assert re.search(rf"\d{{4}}-\d\d local {CROPS} 1 62 0.\d \$0.0\d+", result.text)
    lines = as_documented("cost", captionacc("cost", "--json", "--months", 1).output)
    assert [line["function"] for line in lines] == [CROPS]
    spent = modal_line.line.catalog.tenant_costs(LOCAL_TENANT_ID).month_spent_usd
    assert sum(line["cost_usd"] for line in lines) == pytest.approx(spent, abs=1e-6)
    assert f"local {CROPS}" in captionacc("cost", "--tenant", "local").text
    modal_line.line.catalog.ensure_tenant(str(uuid.uuid4()), "idle")
    assert captionacc("cost", "--tenant", "idle").text == "Nothing was processed in this period."


def test_without_any_spending_it_says_so(captionacc: Captionacc):
    assert captionacc("cost").text == "Nothing was processed in this period."
    assert json.loads(captionacc("cost", "--json").output) == []


def test_the_calculator_shows_each_function_and_the_sum(captionacc: Captionacc):
    result = captionacc("cost", "estimate", "--minutes", 180)
    assert result.text.startswith("180 minutes at 1920 × 1080, 3780 captions")
    for function in ("extract_frames_and_ocr", CROPS, "generate_caption_ocr"):
        assert function in result.text
    found = json.loads(captionacc("cost", "estimate", "--minutes", 180, "--json").output)
    assert found["usd"] == pytest.approx(sum(one["usd"] for one in found["functions"]))
    assert result.text.endswith(f"${found['usd']:.2f}")


def test_the_calculator_uses_resolution_containers_captions_and_prices(captionacc: Captionacc, monkeypatch):
    def total(*options: object) -> float:
        return json.loads(captionacc("cost", "estimate", "--minutes", 60, *options, "--json").output)["usd"]

    usual = total()
    assert total("--resolution", "3840x2160") > usual > total("--resolution", "1280x720")
    assert total("--containers", 1) < usual
    assert total("--captions", 0) < usual
    monkeypatch.setenv("CAPTIONACC_PRICES", '{"gpu_second": {"T4": 0.01}}')
    assert total() > 5 * usual


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resolution", "big"), "'big' is not a resolution"),
        (("--resolution", "0x720"), "'0x720' is not a resolution"),
        (("--resolution", "1920"), "'1920' is not a resolution"),
    ],
)
def test_an_invalid_resolution_is_refused(captionacc: Captionacc, options, message: str):
    result = captionacc("cost", "estimate", "--minutes", 10, *options)
    assert result.code == 2 and f"error: {message}" in result.text


def test_invalid_prices_and_gpus_are_refused(captionacc: Captionacc, monkeypatch):
    monkeypatch.setenv("MODAL_EXTRACT_GPU", "V100")
    assert "error: GPU V100 has no price" in captionacc("cost", "estimate", "--minutes", 10).text
    monkeypatch.setenv("CAPTIONACC_PRICES", "cheap")
    assert "error: CAPTIONACC_PRICES is not JSON" in captionacc("cost", "estimate", "--minutes", 10).text


def test_limits_are_shown_and_set(captionacc: Captionacc, line: Line):
    result = captionacc("cost", "limit")
    assert "limit per video $5.00" in result.text and "limit per month $100.00" in result.text
    result = captionacc("cost", "limit", "--video-usd", "12.5")
    assert "limit per video $12.50" in result.text and "limit per month $100.00" in result.text
    result = captionacc("cost", "limit", "--month-usd", "off")
    assert "limit per video $12.50" in result.text and "limit per month no limit" in result.text
    result = captionacc("cost", "limit", "--video-usd", "default", "--json")
    assert json.loads(result.output) == {
        "tenant_id": LOCAL_TENANT_ID,
        "tenant": "local",
        "tier": "free",
        "video_limit_usd": 5,
        "month_limit_usd": None,
        "month_spent_usd": 0,
        "reserved_usd": 0,
    }


def test_a_tenant_is_named_by_its_name_or_the_start_of_its_id(captionacc: Captionacc, line: Line):
    other = str(uuid.uuid4())
    for tenant in (other, str(uuid.uuid4())):
        line.catalog.ensure_tenant(tenant, "Twins")
    for name in ("local", LOCAL_TENANT_ID[:8], LOCAL_TENANT_ID):
        assert f"tenant local ({LOCAL_TENANT_ID})" in captionacc("cost", "limit", "--tenant", name).text
        assert captionacc("cost", "--tenant", name).code == 0
    ambiguous = captionacc("cost", "--tenant", "Twins")
    assert ambiguous.code == 1 and "2 tenants match 'Twins'" in ambiguous.text
    assert f"{other[:8]} (Twins)" in ambiguous.text and "give one of these ids" in ambiguous.text


def test_a_tiers_limits_hold_for_its_tenants(captionacc: Captionacc, line: Line):
    try:
        result = captionacc("cost", "limit", "--tier", "free", "--month-usd", 20)
        assert result.output == "tier free: per video the installation's limit, per tenant and month $20.00\n"
        assert "limit per month $20.00" in captionacc("cost", "limit").text
    finally:
        result = captionacc("cost", "limit", "--tier", "free", "--month-usd", "default")
    assert result.output.strip().endswith("per tenant and month the installation's limit")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--tenant", NOBODY), 1, f"no tenant matches '{NOBODY}'"),
        (
            ("--tenant", "nobody"),
            1,
            "no tenant matches 'nobody': give its name, its id or the start of its id",
        ),
        (("--tier", "gold"), 1, "tier 'gold' does not exist; the tiers are free, premium, enterprise"),
        (("--tenant", NOBODY, "--tier", "free"), 2, "give --tenant or --tier, not both"),
        (("--video-usd", "much"), 2, "'much' is not an amount in US dollars"),
        (("--video-usd", "-1"), 2, "'-1' is not an amount"),
        (("--month-usd", "nan"), 2, "'nan' is not an amount"),
    ],
)
def test_invalid_input_is_explained_in_one_sentence(captionacc: Captionacc, options, code: int, message: str):
    result = captionacc("cost", "limit", *options)
    assert result.code == code and "error:" in result.text and message in result.text


def test_the_calculator_needs_neither_modal_nor_a_catalogue(tmp_path: Path):
    program = (
        "import sys; sys.argv = ['captionacc', 'cost', 'estimate', '--minutes', '10']\n"
        "from captionacc_dagster.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('modal', 'torch', 'cv2', 'psycopg_pool') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY), "COLUMNS": "120"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "generate_caption_ocr" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == []


def test_the_further_zones_of_a_video_are_in_its_estimate(
    captionacc: Captionacc, line: Line, laid_out: VideoRow
):
    def crops_usd() -> float:
        found = json.loads(captionacc("cost", "estimate", laid_out.video_id, "--json").output)
        return next(one["usd"] for one in found["functions"] if one["function"] == CROPS)

    line.catalog.approve_layout(laid_out.video_id, "ann", CropRegion(0, 0.7, 1, 1), ())
    one_zone = crops_usd()
    further = (CaptionZone(1, CropRegion(0, 0, 1, 0.2)),)
    line.catalog.approve_layout(laid_out.video_id, "ann", CropRegion(0, 0.7, 1, 1), further)
    assert crops_usd() > one_zone


def test_configurations_are_compared_by_gpu_and_containers(captionacc: Captionacc):
    result = captionacc("cost", "compare", "--minutes", 60)
    assert result.text.startswith("60 minutes at 1920 × 1080, 1260 captions")
    rows = json.loads(captionacc("cost", "compare", "--minutes", 60, "--json").output)
    assert {(row["gpu"], row["containers"]) for row in rows} == {
        (gpu, count) for gpu in ("none", "T4", "L4", "A10G") for count in (1, 2, 4, 10)
    }
    for row in rows:
        assert f"{row['gpu']} {row['containers']} {row['wall_seconds']:.0f}" in result.text


def test_a_compared_configuration_is_what_the_calculator_says_of_it(captionacc: Captionacc, monkeypatch):
    rows = json.loads(captionacc("cost", "compare", "--minutes", 30, "--json").output)
    for function in ("EXTRACT", "CROP_INFER", "CAPTION_OCR"):
        monkeypatch.setenv(f"MODAL_{function}_GPU", "L4")
    found = json.loads(captionacc("cost", "estimate", "--minutes", 30, "--containers", 4, "--json").output)
    (row,) = [row for row in rows if (row["gpu"], row["containers"]) == ("L4", 4)]
    assert row["usd"] == pytest.approx(found["usd"], abs=1e-5)
    assert row["usd_per_hour"] == pytest.approx(2 * found["usd"], abs=1e-5)
    assert row["wall_seconds"] == pytest.approx(sum(one["wall_seconds"] for one in found["functions"]))
