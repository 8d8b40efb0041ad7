"""Every command with its arguments and options, from Typer."""

import click
import typer.main

from captionacc_dagster.cli.commands import COMMANDS, load
from captionacc_dagster.cli.root import app
from docs_site.markdown import cell, code, table


def command_reference() -> str:
    """Return a section for each command, in the order of ``captionacc --help``."""
    for name in COMMANDS:
        load(name)
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    context = click.Context(group, info_name="captionacc")
    found = ((group.get_command(context, name), name) for name in COMMANDS)
    return "\n\n".join(_sections(command, context, name) for command, name in found if command is not None)


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
    parts = [f"{level} {context.command_path}", cell(command.help or ""), f"```text\n{usage}\n```"]
    rows = [_row(parameter, context) for parameter in command.params if not _is_hidden(parameter)]
    if rows:
        parts.append(table(["argument or option", "default", "meaning"], rows))
    return "\n\n".join(parts)


def _is_hidden(parameter: click.Parameter) -> bool:
    return "--help" in parameter.opts or bool(getattr(parameter, "hidden", False))


def _row(parameter: click.Parameter, context: click.Context) -> tuple[str, str, str]:
    if isinstance(parameter, click.Option):
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        if not parameter.is_flag:
            names += f" {cell(parameter.make_metavar())}"
        text = parameter.help or ""
    else:
        names, text = f"`{parameter.make_metavar()}`", getattr(parameter, "help", "") or ""
    return names, _default(parameter, context), cell(text)


def _default(parameter: click.Parameter, context: click.Context) -> str:
    if parameter.required:
        return "required"
    value = parameter.get_default(context, call=False)
    is_unset = value is None or value is False or value == "" or callable(value)
    if is_unset or isinstance(value, list | tuple):
        return "–"
    return code(str(getattr(value, "value", value)))
