"""``captionacc doctor`` explains every fault, of what it checks and of a check itself, and never crashes."""

import types

import obstore
import pytest
from obstore.store import S3Store

from captionacc_dagster.cli import system
from captionacc_dagster.cli.findings import check_safely
from captionacc_dagster.settings import Settings
from tests.cli.conftest import Captionacc

SECRET = "hunter2hunter2"
CHECKS = [what for what, _ in system._CHECKS]


def panic(_: object = None) -> None:
    """Cause a real panic in the store's Rust code, which is not an ``Exception``."""
    store = S3Store(
        "footage", endpoint="http://footage.10.1.2.3", virtual_hosted_style_request=True, region="us-east-1",
        access_key_id="a", secret_access_key="b", client_options={"allow_http": True},
    )  # fmt: skip
    obstore.head(store, "k")


def raising(error: BaseException):
    def check(_: object) -> None:
        raise error

    return check


FAULTS = {
    "PanicException": panic,
    "OSError": raising(OSError(5, f"no {SECRET}")),
    "ImportError": raising(ImportError(f"libGL.so.1 {SECRET}")),
    "ZeroDivisionError": raising(ZeroDivisionError(SECRET)),
    "CancelledError": raising(type("CancelledError", (BaseException,), {})(SECRET)),
}


def test_except_exception_does_not_catch_the_panic():
    with pytest.raises(BaseException) as caught:
        panic()
    assert not isinstance(caught.value, Exception)


@pytest.mark.parametrize(
    ("name", "fault"), [*((name, "PanicException") for name in CHECKS), *(("OCR", fault) for fault in FAULTS)]
)
def test_a_check_that_fails_is_a_finding_and_the_others_still_run(
    captionacc: Captionacc, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
):
    monkeypatch.setenv("WASABI_SECRET_KEY_READWRITE", SECRET)
    checks = [(what, FAULTS[fault] if what == name else lambda _: (True, "well", "")) for what in CHECKS]
    monkeypatch.setattr(system, "_CHECKS", tuple(checks))
    result = captionacc("doctor")
    assert result.code == 1
    assert (result.output.count("✓"), result.output.count("✗")) == (len(CHECKS) - 1, 1)
    assert f"✗ {name}" in result.text and fault in result.text
    assert SECRET not in result.output and "Traceback" not in result.output


def test_the_engine_that_reads_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("modal_gpu.ocr.opening.checked_packs", lambda _: ("eng",))
    languages = {"OCR_LANGUAGE": "en", "OCR_RECOGNITION_MODEL": "rapidocrs.onnx"}
    assert system._ocr(Settings(OCR_ENGINE="tesseract", **languages)) == (True, "Tesseract, en", "")
    assert system._ocr(Settings(OCR_LANGUAGE="en")) == (True, "RapidOCR, en", "")


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_the_doctor(signal: type[BaseException]):
    with pytest.raises(signal):
        check_safely("x", lambda: raising(signal())(None), lambda error: ("", ""))


def test_a_panic_in_modals_client_is_a_finding(captionacc: Captionacc, monkeypatch: pytest.MonkeyPatch):
    client = types.SimpleNamespace(Client=types.SimpleNamespace(from_env=panic))
    monkeypatch.setattr(system, "_modal_client", lambda: client)
    result = captionacc("doctor", "--modal")
    assert result.code == 1 and "✗ token" in result.text and "PanicException" in result.text


def test_a_missing_modal_client_is_explained_in_one_sentence(
    captionacc: Captionacc, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(__import__("sys").modules, "modal", None)
    result = captionacc("doctor", "--modal")
    assert result.code == 1 and "error: Modal's client cannot be loaded" in result.text


@pytest.mark.parametrize(
    ("endpoint", "setting"),
    [
        ("http://10.1.2.3:9000", "CAPTIONACC_STORAGE_PATH_STYLE=true"),
        ("http://[::1]:9000", "CAPTIONACC_STORAGE_PATH_STYLE=true"),
        ("http://minio:99999", "WASABI_ENDPOINT_URL"),
        ("not a url", "WASABI_ENDPOINT_URL"),
    ],
)
def test_an_endpoint_that_cannot_serve_a_bucket_is_explained(
    captionacc: Captionacc, monkeypatch: pytest.MonkeyPatch, endpoint: str, setting: str
):
    """This includes an IP address as endpoint where the bucket's name is part of the host name."""
    monkeypatch.setenv("CAPTIONACC_STORAGE_URL", "s3://footage")
    monkeypatch.setenv("WASABI_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("CAPTIONACC_STORAGE_PATH_STYLE", "false")
    result = captionacc("doctor")
    assert result.code == 1 and result.output.count("✗") == 1
    assert "✗ object store" in result.text and setting in result.text and "panic" not in result.output.lower()


@pytest.mark.parametrize("command", ["doctor", "status", "migrate"])
def test_a_parameter_of_another_client_in_the_database_url_is_named(
    captionacc: Captionacc, monkeypatch: pytest.MonkeyPatch, command: str
):
    monkeypatch.setenv("CAPTIONACC_DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1:1/x?pgbouncer=true")
    result = captionacc(command)
    assert result.code == 1 and "remove pgbouncer" in result.text and "%-encoded" not in result.text
    assert SECRET not in result.output
