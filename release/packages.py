"""Builds the packages and tries them: `python -m release.packages [FOLDER]`.

The wheel is built from the sdist, has every file of the library, and is installed into
a fresh environment, first alone and then with the commands.
"""

import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from . import versions
from .refusals import Refusal, output, run

_SMOKE = """
import numpy as np
rng = np.random.default_rng(0)
labels = rng.integers(0, 3, 400)
logits = rng.normal(size=(400, 3)) + 2.0 * np.eye(3)[labels]
np.savez("outputs.npz", logits=logits, labels=labels)
"""
_VERSIONS = (
    "import calib_jax as cj, importlib.metadata as m;"
    "print(cj.__version__, m.version('calib_jax'), cj.__file__)"
)


def build(root: Path, folder: Path) -> None:
    """Builds an sdist, and a wheel from it, and checks both.

    Raises:
      Refusal: if one cannot be built, or lacks something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Refusal(f"expected an empty folder, got {folder}: remove its files")
    python = sys.executable
    run([python, "-m", "build", "--outdir", str(folder), str(root)], root)
    sdist, wheel = packages(folder)
    run([python, "-m", "twine", "check", "--strict", str(sdist), str(wheel)], root)
    check_contents(root, sdist, wheel)
    install(versions.current(root), wheel)


def packages(folder: Path) -> tuple[Path, Path]:
    """The sdist and the wheel in a folder."""
    sdists, wheels = sorted(folder.glob("*.tar.gz")), sorted(folder.glob("*.whl"))
    if len(sdists) != 1 or len(wheels) != 1:
        raise Refusal(
            f"expected one sdist and one wheel in {folder}, "
            f"got {len(sdists)} and {len(wheels)}"
        )
    return sdists[0], wheels[0]


def check_contents(root: Path, sdist: Path, wheel: Path) -> None:
    """Every file of the library is in both, and the wheel has nothing else."""
    wanted = {
        path.relative_to(root).as_posix()
        for path in (root / "calib_jax").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    has = {name.partition("/")[2] for name in names}
    _same(wanted, {name for name in has if name.startswith("calib_jax/")}, sdist.name)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    metadata = f"{wheel.name.split('-py3')[0]}.dist-info/"
    has = {name for name in names if not name.startswith(metadata)}
    _same(wanted, has, wheel.name)
    for name in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
        if metadata + name not in names:
            raise Refusal(f"{wheel.name} lacks {metadata}{name}")


def _same(wanted: set[str], has: set[str], name: str) -> None:
    if missing := sorted(wanted - has):
        raise Refusal(f"{name} lacks {', '.join(missing)}")
    if others := sorted(has - wanted):
        raise Refusal(f"{name} has files that the sources lack: {', '.join(others)}")


def install(version: str, wheel: Path) -> None:
    """Installs the wheel into a fresh environment; runs the library and a command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        python = str(scripts / "python")
        pip = [python, "-m", "pip", "install", "--quiet"]

        run([*pip, str(wheel)], folder)
        said = output([python, "-c", _VERSIONS], folder)
        if said.split(" ", 2)[:2] != [version, version] or "venv" not in said:
            raise Refusal(f"expected {version} of the installed wheel, got {said}")
        run([*pip, f"{wheel}[report]"], folder)
        run([python, "-m", "pip", "check"], folder)
        command = str(scripts / "calib-jax")
        said = output([command, "--version"], folder)
        if said != f"calib-jax, version {version}":
            raise Refusal(f"expected version {version} of the command, got {said!r}")
        run([python, "-c", _SMOKE], folder)
        run([command, "calibrate", "outputs.npz", "--output", "page"], folder)
        page = folder / "page" / "report.html"
        if not page.is_file() or "<svg" not in page.read_text("utf-8"):
            raise Refusal("expected a page with a figure from the installed command")


def main(folder: str = "dist") -> None:
    root = Path().resolve()
    build(root, root / folder)
    for path in packages(root / folder):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Refusal as error:
        sys.exit(f"release: {error}")
