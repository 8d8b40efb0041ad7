"""Every number that a command accepts: an invalid one is reported in one line, without a traceback."""

from collections.abc import Iterator

import click
import pytest
from typer.main import get_command

from tests.all_commands import load_all
from tests.cli.conftest import Captionacc

NUMBERS = (click.types.IntParamType, click.types.FloatParamType)
HUGE = "9" * 400
NONSENSE = ("nan", "-nan", "inf", "-inf", "1e400", HUGE, "9" * 5000, f"-{HUGE}", "1e-400x", "", "٣x")


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from commands(sub, *path, name)


OPTIONS = {
    f"{' '.join(path)} {parameter.opts[-1]}": parameter
    for path, command in commands(get_command(load_all()))
    for parameter in command.params
    if isinstance(parameter.type, NUMBERS)
}


def test_there_are_options_with_numbers():
    assert {
        "layout set --left",
        "cost estimate --minutes",
        "backfill --limit",
        "trim --older-than-days",
    } <= set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_number_has_both_ends(name: str):
    kind = OPTIONS[name].type
    assert getattr(kind, "min", None) is not None and getattr(kind, "max", None) is not None


@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: f"{value[:8]} of {len(value)}")
@pytest.mark.parametrize("name", OPTIONS)
def test_nonsense_is_refused_by_the_option(name: str, value: str):
    with pytest.raises(click.BadParameter) as raised:
        OPTIONS[name].type_cast_value(click.Context(click.Command("test")), value)
    assert "\n" not in raised.value.format_message()


RESOLUTIONS = ("nan", HUGE, f"{HUGE}x1080", f"1920x{HUGE}", "0x0", "-1x5", "1920x16385", "٣٤x٣", "x", "1e3x5")
AMOUNTS = ("nan", "inf", "-1", HUGE, "1e308", "$", "1e-400x")


def test_a_text_that_holds_numbers_is_checked_too(captionacc: Captionacc):
    estimate = ("cost", "estimate", "--minutes", "5")
    for text in RESOLUTIONS:
        result = captionacc(*estimate, "--resolution", text)
        assert result.code == 2 and "is not a resolution" in result.text and HUGE not in result.text
    for option in ("--video-usd", "--month-usd"):
        for text in AMOUNTS:
            result = captionacc("cost", "limit", option, text)
            assert (
                result.code == 2
                and "is not an amount in US dollars" in result.text
                and HUGE not in result.text
            )
    assert captionacc(*estimate, "--resolution", "1920×1080", "--captions", "12").code == 0


@pytest.mark.parametrize("value", ["nan", HUGE, "inf"], ids=["nan", "400 digits", "inf"])
@pytest.mark.parametrize("option", ["--minutes", "--captions", "--containers"])
def test_a_command_reports_which_number_is_wrong(captionacc: Captionacc, option: str, value: str):
    arguments = {"--minutes": "5", option: value}
    result = captionacc("cost", "estimate", *(part for pair in arguments.items() for part in pair))
    assert result.code == 2 and option in result.text


def test_a_region_thinner_than_a_pixel_is_refused_before_any_request(captionacc: Captionacc):
    result = captionacc(
        "layout", "set", "any", "--left", 0, "--top", 0.5, "--right", 1, "--bottom", "0.500000000001"
    )
    assert result.code == 2 and "is too thin: at least 0.01 of the frame a side" in result.text
