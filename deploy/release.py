"""Builds and checks a release: ``python -m deploy.release check [--tag v1.0.0]``, or ``make release-check``.

It writes the sdist, the wheel, built from the sdist, and an SBOM into ``dist/``. It installs the wheel
with the locked packages into an empty environment, and runs ``captionacc demo`` and ``captionacc extract``
there, outside the checkout. Run it in an environment of ``make test``.

``python -m deploy.release notes v1.0.0`` prints the changelog's section of a version, and needs only Python.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from deploy.install import Environment, step

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("captionacc_dagster", "modal_gpu")
#: Folders of the checkout that the wheel has in another place.
MOVED = {"supabase/migrations": "captionacc_dagster/_migrations"}
#: Models that come with packages, for the SBOM: what has them, and their license.
MODELS = {
    "PP-OCRv6_det_small": ("rapidocr", "Apache-2.0"),
    "PP-OCRv6_rec_small": ("rapidocr", "Apache-2.0"),
    "ch_ppocr_mobile_v2.0_cls_mobile": ("rapidocr", "Apache-2.0"),
    "extents-10": ("captionacc-dagster", "Apache-2.0"),
}


class ReleaseError(Exception):
    """The release is not as it must be; the message says what is wrong."""


def version() -> str:
    """Return the project's version."""
    source = (ROOT / "captionacc_dagster" / "__init__.py").read_text()
    return re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]


def notes(tag: str) -> str:
    """Return the changelog's section of a version. Raises :class:`ReleaseError` if it has none.

    On GitHub its links lead to the files of the tag: a release's page has no others beside it.
    """
    changelog = (ROOT / "CHANGELOG.md").read_text()
    sections = re.split(r"^## \[(.+?)\].*\n", changelog, flags=re.MULTILINE)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    wanted = tag.removeprefix("v")
    if not found.get(wanted, "").strip():
        raise ReleaseError(f"CHANGELOG.md has no section ## [{wanted}] - YYYY-MM-DD")
    text = found[wanted].strip() + "\n"
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        address = f"{os.environ['GITHUB_SERVER_URL']}/{repository}/blob/{tag}/"
        text = re.sub(r"\]\((?![a-z]+:|#)", lambda before: before[0] + address, text)
    return text


def expected_files() -> set[str]:
    """Return what the wheel must contain besides its metadata: every file of the packages."""
    folders = {ROOT / package: package for package in PACKAGES}
    folders |= {ROOT / source: target for source, target in MOVED.items()}
    return {
        f"{target}/{path.relative_to(folder).as_posix()}"
        for folder, target in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def check_content(wheel: Path) -> None:
    """Compare the wheel's files with the checkout. Raises :class:`ReleaseError` where they differ."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    wanted = expected_files()
    if names != wanted:
        missing, more = sorted(wanted - names), sorted(names - wanted)
        raise ReleaseError(f"{wheel.name} lacks {missing[:5]} and has {more[:5]} besides")


def build(output: Path) -> Path:
    """Build sdist and wheel into an empty folder, check their metadata, and return the wheel."""
    output.mkdir(parents=True, exist_ok=True)
    for old in [*output.glob("*.whl"), *output.glob("*.tar.gz"), *output.glob("*.cdx.json")]:
        old.unlink()
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(ROOT))
    built = [*output.glob("*.tar.gz"), *output.glob("*.whl")]
    _run(sys.executable, "-m", "twine", "check", "--strict", *map(str, built))
    (wheel,) = output.glob("*.whl")
    check_content(wheel)
    return wheel


def install(folder: Path, wheel: Path) -> Environment:
    """Make an environment with the locked packages and the wheel, and nothing else."""
    environment = Environment(folder)
    environment.create()
    environment.add_uv()
    environment.install("constraints.txt")
    environment.add_wheel(wheel)
    environment.check()
    return environment


def texts(subtitles: Path) -> list[str]:
    """Return the texts of a SubRip file."""
    import pysubs2

    return [event.plaintext for event in pysubs2.load(str(subtitles), encoding="utf-8")]


def try_out(environment: Environment, work: Path) -> str:
    """Run the commands of a first user; return how many captions the sample has.

    Raises :class:`ReleaseError` if a command fails or the captions are not those of the sample's truth.
    """
    ours = ("CAPTIONACC_", "DAGSTER_", "OCR_", "PYTHONPATH", "VIRTUAL_ENV")
    own = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    own["CAPTIONACC_HOME"] = str(work / "home")
    command = str(environment.python.parent / "captionacc")
    demo, extracted = work / "demo", work / "extracted"

    def run(*arguments: str) -> str:
        return _run(command, *arguments, cwd=work, env=own)

    if run("--version").strip() != f"captionacc {version()}":
        raise ReleaseError(f"the installed command is not of version {version()}")
    try:
        run("demo", "--folder", str(demo))
        run("extract", str(demo / "sample.mp4"), "-o", str(extracted))
    finally:
        run("stop")
    truth = texts(demo / "sample.truth.srt")
    for result in (demo / "sample.srt", extracted / "sample.srt"):
        if texts(result) != truth:
            raise ReleaseError(f"{result} has {len(texts(result))} captions, not the sample's {len(truth)}")
    return f"{len(truth)} captions each"


def write_sbom(environment: Environment, output: Path) -> str:
    """Write the CycloneDX document of what is installed, with the models; return how many it names."""
    path = output / f"captionacc-dagster-{version()}.cdx.json"
    project = ("--pyproject", str(ROOT / "pyproject.toml"))
    options = ("--output-reproducible", "--output-file", str(path), str(environment.python))
    _run(sys.executable, "-m", "cyclonedx_py", "environment", *project, *options)
    document = with_models(json.loads(path.read_text()))
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.from_version(document["specVersion"])).validate_str(text)
    if fault is not None:
        raise ReleaseError(f"{path.name} is not valid: {fault}")
    path.write_text(text)
    return f"{len(document['components'])} components"


def with_models(document: dict[str, Any]) -> dict[str, Any]:
    """Add the models to an SBOM."""
    models = [
        {
            "type": "machine-learning-model",
            "bom-ref": f"model:{name}",
            "name": name,
            "description": f"in the wheel of {package}",
            "licenses": [{"license": {"id": license}}],
        }
        for name, (package, license) in MODELS.items()
    ]
    return {**document, "components": [*document.get("components", ()), *models]}


def _run(*command: str, **options: Any) -> str:
    """Return what a command prints. Raises :class:`ReleaseError` with its last lines if it fails."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, text=True, **{"cwd": ROOT} | streams | options)
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-15:])
        raise ReleaseError(f"{' '.join(command)} ended with {done.returncode}:\n{last}")
    return done.stdout


def check(output: Path, tag: str | None) -> None:
    """Build the release and check it; print a line a step."""
    if tag is not None and tag != f"v{version()}":
        raise ReleaseError(f"the tag {tag} is not v{version()}, the version of the package")
    notes(version())
    with tempfile.TemporaryDirectory(prefix="captionacc-release-") as folder:
        work = Path(folder)
        work.chmod(0o755)  # For the embedded PostgreSQL, which is another user's where this is root's.
        wheel = step(f"Building {version()} and checking its content", lambda: build(output))
        environment = step(
            "Installing it into an empty environment", lambda: install(work / "environment", wheel)
        )
        step("Running captionacc demo and extract", lambda: try_out(environment, work))
        step("Writing the SBOM", lambda: write_sbom(environment, output))
    for path in sorted(output.iterdir()):
        print(f"{path.stat().st_size:>10,}  {path}")


def main() -> None:
    """Run the command line."""
    parser = ArgumentParser(prog="python -m deploy.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check")
    checking.add_argument("--tag", help="fail unless the version is that of this tag")
    checking.add_argument("--output", type=Path, default=ROOT / "dist")
    commands.add_parser("notes").add_argument("tag")
    given = parser.parse_args()
    try:
        if given.command == "notes":
            print(notes(given.tag), end="")
        else:
            check(given.output, given.tag)
    except ReleaseError as error:
        sys.exit(f"\nrelease: {error}")


if __name__ == "__main__":
    main()
