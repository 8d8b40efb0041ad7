"""Every command with its arguments and options, from Typer."""

import inspect
import textwrap

import click
import typer.main

from captionacc_dagster.cli.commands import COMMANDS, load
from captionacc_dagster.cli.root import app
from docs_site.markdown import cell, code, table


def command_reference() -> str:
    """Return a list of the commands, in the order of ``captionacc --help``, and a section for each."""
    for name in COMMANDS:
        load(name)
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    context = click.Context(group, info_name="captionacc")
    found = {name: command for name in COMMANDS if (command := group.get_command(context, name))}
    overview = table(
        ["command", "what it does"],
        (
            (f"[{name}](#captionacc-{name})", cell((command.help or "").partition("\n\n")[0]))
            for name, command in found.items()
        ),
    )
    return "\n\n".join([overview, *(_sections(command, context, name) for name, command in found.items())])


def _sections(command: click.Command, parent: click.Context, name: str) -> str:
    context = click.Context(command, parent=parent, info_name=name)
    sections = [_section(command, context)]
    if isinstance(command, click.Group):
        for part in command.list_commands(context):
            below = command.get_command(context, part)
            if below is not None and not below.hidden:
                sections.append(_sections(below, context, part))
    return "\n\n".join(sections)


def _section(command: click.Command, context: click.Context) -> str:
    level = "##" if context.parent is not None and context.parent.parent is None else "###"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"{level} {context.command_path}", *_paragraphs(command.help or ""), f"```text\n{usage}\n```"]
    rows = [_row(parameter, context) for parameter in command.params if not _is_hidden(parameter)]
    if rows:
        parts.append(table(["argument or option", "default", "meaning"], rows))
    return "\n\n".join(parts)


def _paragraphs(text: str) -> list[str]:
    """Return a help text's paragraphs; one that Click leaves as it is (after ``\\b``) as a block of text."""
    given = inspect.cleandoc(text).split("\n\n")
    running = [one for one in given if not one.startswith("\b\n")]
    as_they_are = [f"```text\n{textwrap.dedent(one[2:])}\n```" for one in given if one.startswith("\b\n")]
    return [cell(" ".join(running)), *as_they_are]


def _is_hidden(parameter: click.Parameter) -> bool:
    return "--help" in parameter.opts or bool(getattr(parameter, "hidden", False))


def _row(parameter: click.Parameter, context: click.Context) -> tuple[str, str, str]:
    if isinstance(parameter, click.Option):
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        if not parameter.is_flag:
            names += f" {cell(_value(parameter))}"
        text = parameter.help or ""
    else:
        names, text = f"`{parameter.make_metavar()}`", getattr(parameter, "help", "") or ""
    linked = cell(text).replace("as in docs/reference/commands.md", "as in [Commands](commands.md#json)")
    return names, _default(parameter, context), linked


def _value(option: click.Option) -> str:
    """Return the kind of an option's value, with the limits of a number."""
    if option.metavar or not isinstance(option.type, click.IntRange | click.FloatRange):
        return option.make_metavar()
    kind = "INTEGER" if isinstance(option.type, click.IntRange) else "FLOAT"
    return f"{kind} ({option.type.min} to {option.type.max})"


def _default(parameter: click.Parameter, context: click.Context) -> str:
    if parameter.required:
        return "required"
    value = parameter.get_default(context, call=False)
    if isinstance(value, bool) and parameter.secondary_opts:
        return code(parameter.opts[0] if value else parameter.secondary_opts[0])
    is_unset = value is None or value is False or value == "" or callable(value)
    if is_unset or isinstance(value, list | tuple):
        return "–"
    return code(str(getattr(value, "value", value)))
