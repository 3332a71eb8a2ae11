"""A release is refused until all is ready; then version, date and tag are set."""

import datetime
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from release import __main__ as command
from release import notes, packages, versions
from release.refusals import Refusal

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not shutil.which("git"), reason="needs git"),
]

ROOT = Path(__file__).parents[2]
CHANGES = "# Changelog\n\n{}\n\n## 1.2.3 - 2026-01-02\n\n- First.\n"
NEXT = "## 1.3.0 - unreleased\n\n- A thing.\n- Another."


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "-m", "work")


def made(root: Path) -> Path:
    """A repository of what is in `root`, at version 1.2.3 and ready for 1.3.0."""
    versions.write(root, "1.2.3", datetime.date(2026, 1, 2))
    (root / "CHANGELOG.md").write_text(CHANGES.format(NEXT), "utf-8")
    git(root, "init", "--quiet", "-b", "main")
    git(root, "config", "user.name", "A maintainer")
    git(root, "config", "user.email", "maintainer@example.org")
    git(root, "config", "core.hooksPath", ".git/hooks")
    commit(root)
    return root


@pytest.fixture
def checkout(tmp_path):
    """A repository of the files that have the version."""
    for name in [*versions.PLACES, versions.CHANGELOG]:
        (tmp_path / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "work" / name)
    return made(tmp_path / "work")


@pytest.fixture
def built(monkeypatch):
    """Versions that were built, without building them."""
    versions_built = []
    monkeypatch.setattr(
        packages,
        "build",
        lambda tree, folder: versions_built.append(versions.current(tree)),
    )
    return versions_built


def replace(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text("utf-8")
    assert old in text
    (root / name).write_text(text.replace(old, new), "utf-8")
    commit(root)


def contents(root: Path) -> dict[Path, bytes]:
    """What every file outside of `.git` holds."""
    paths = [path for path in root.rglob("*.*") if path.is_file()]
    return {path: path.read_bytes() for path in paths if ".git" not in path.parts}


def changelog(text: str):
    return lambda root: replace(root, "CHANGELOG.md", NEXT, text)


REFUSED = {
    "no number": (
        lambda root: None,
        "1.3",
        "expected three numbers such as 0.2.0, got",
    ),
    "a candidate": (lambda root: None, "1.3.0rc1", "expected three numbers"),
    "leading zero": (lambda root: None, "1.03.0", "expected three numbers"),
    "changed": (
        lambda root: (root / "new.py").touch(),
        "1.3.0",
        "expected a clean checkout, got 1 changed files: commit or remove",
    ),
    "branch": (
        lambda root: git(root, "switch", "--quiet", "-c", "topic"),
        "1.3.0",
        "expected the branch main, got topic: git switch main",
    ),
    "tagged": (lambda root: git(root, "tag", "v1.3.0"), "1.3.0", "v1.3.0 exists"),
    "no repository": (
        lambda root: shutil.rmtree(root / ".git"),
        "1.3.0",
        "`git status --porcelain` failed: fatal: not a git repository",
    ),
    "no section": (
        changelog(""),
        "1.3.0",
        "expected '## 1.3.0 - unreleased' at the top of CHANGELOG.md, "
        "got '## 1.2.3 - 2026-01-02'",
    ),
    "no changelog": (
        lambda root: replace(root, "CHANGELOG.md", "## ", "### "),
        "1.3.0",
        "expected '## 0.2.0 - unreleased' or alike in CHANGELOG.md",
    ),
    "no entry": (
        changelog("## 1.3.0 - unreleased\n\nSoon."),
        "1.3.0",
        "CHANGELOG.md has no entry for 1.3.0",
    ),
    "dated": (
        changelog(NEXT.replace("unreleased", "2026-02-03")),
        "1.3.0",
        "got '## 1.3.0 - 2026-02-03'",
    ),
    "two to come": (
        changelog(f"{NEXT}\n\n## 1.2.4 - unreleased\n\n- Old."),
        "1.3.0",
        "expected 1.2.3 of calib_jax/_core/versions.py and its date below 1.3.0",
    ),
    "skipped": (
        changelog(NEXT.replace("1.3.0", "1.4.0")),
        "1.4.0",
        "expected 1.2.4 or 1.3.0 or 2.0.0 next, got 1.4.0",
    ),
    "backwards": (
        changelog(NEXT.replace("1.3.0", "1.2.2")),
        "1.2.2",
        "expected 1.2.4 or 1.3.0 or 2.0.0 next, got 1.2.2",
    ),
    "first of another version": (
        lambda root: replace(root, "CHANGELOG.md", "## 1.2.3 - 2026-01-02", ""),
        "1.3.0",
        "expected 1.2.3 next, got 1.3.0",
    ),
    "places differ": (
        lambda root: replace(root, "CITATION.cff", "1.2.3", "1.2.2"),
        "1.3.0",
        "in all files, but calib_jax/_core/versions.py says 1.2.3, "
        "CITATION.cff says 1.2.2, conda/recipe.yaml says 1.2.3",
    ),
    "no place": (
        lambda root: replace(root, "conda/recipe.yaml", '  version: "1.2.3"', ""),
        "1.3.0",
        "expected one line with the version in conda/recipe.yaml, got 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_ready_is_refused_and_left_alone(name, checkout, built, capfd):
    spoil, version, message = REFUSED[name]
    spoil(checkout)
    before = contents(checkout)
    assert command.main([version], checkout) == 2
    said = capfd.readouterr().err
    assert said.startswith("release: ") and said.count("\n") == 1 and message in said
    assert not built
    assert before == contents(checkout)


@pytest.mark.parametrize("version", ["1.2.4", "1.3.0", "2.0.0"])
def test_a_version_that_may_come_next_is_written_committed_and_tagged(
    version, checkout, built, capfd
):
    replace(checkout, "CHANGELOG.md", "1.3.0", version)
    before = git(checkout, "rev-parse", "HEAD")
    assert command.main([version], checkout) == 0
    assert built == [version] == [versions.current(checkout)]
    today = str(datetime.date.today())
    newest, older = versions.sections(checkout)
    assert newest == (version, today, "- A thing.\n- Another.")
    assert older == ("1.2.3", "2026-01-02", "- First.")
    citation = (checkout / "CITATION.cff").read_text("utf-8")
    assert citation.count("date-released") == 1
    assert f"\nversion: {version}\ndate-released: {today}\nlicense:" in citation
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "rev-parse", "HEAD~") == before
    tagged = git(checkout, "rev-parse", f"v{version}^{{commit}}")
    assert tagged == git(checkout, "rev-parse", "HEAD")
    assert git(checkout, "cat-file", "-t", f"v{version}") == "tag"
    pushing = f"To publish: git push --atomic origin main v{version}\n"
    assert capfd.readouterr().out.endswith(pushing)
    assert notes.of(checkout, f"v{version}") == newest.text


def test_the_first_release_is_of_the_version_that_the_sources_say(checkout, built):
    text = "# Changelog\n\n## 1.2.3 - unreleased\n\n- First.\n"
    (checkout / "CHANGELOG.md").write_text(text, "utf-8")
    commit(checkout)
    assert command.main(["1.2.3"], checkout) == 0
    assert built == ["1.2.3"]
    assert "v1.2.3" in git(checkout, "tag")


def test_a_dry_run_changes_nothing(checkout, built, capfd):
    before = git(checkout, "rev-parse", "HEAD")
    assert command.main(["--dry-run", "1.3.0"], checkout) == 0
    assert built == ["1.3.0"]
    assert git(checkout, "rev-parse", "HEAD") == before
    assert git(checkout, "status", "--porcelain") == git(checkout, "tag") == ""
    assert "1.3.0 is ready" in capfd.readouterr().out


def test_a_failed_build_or_commit_leaves_the_checkout_as_it_was(
    checkout, built, monkeypatch, capfd
):
    hook = checkout / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert command.main(["1.3.0"], checkout) == 2
    assert "`git commit -q -m 'Release 1.3.0' " in capfd.readouterr().err
    hook.unlink()

    def broken(tree, folder):
        raise Refusal("it lacks a file")

    monkeypatch.setattr(packages, "build", broken)
    assert command.main(["1.3.0"], checkout) == 2
    assert capfd.readouterr().err == "release: it lacks a file\n"
    assert git(checkout, "status", "--porcelain") == git(checkout, "tag") == ""


def test_notes_are_refused_for_another_tag_or_without_a_date(checkout):
    with pytest.raises(Refusal, match="expected the tag v1.2.3 of the .*, got v1.3.0"):
        notes.of(checkout, "v1.3.0")
    with pytest.raises(Refusal, match="expected 1.2.3 and .* got 1.3.0 - unreleased"):
        notes.of(checkout, "v1.2.3")


def write_packages(
    folder: Path, names: list[str], extra: str = ""
) -> tuple[Path, Path]:
    """An sdist and a wheel of empty files; the wheel may have one more."""
    sdist = folder / "calib_jax-1.0.0.tar.gz"
    wheel = folder / "calib_jax-1.0.0-py3-none-any.whl"
    with tarfile.open(sdist, "w:gz") as archive:
        for name in [*names, "README.md"]:
            archive.addfile(tarfile.TarInfo(f"calib_jax-1.0.0/{name}"), io.BytesIO())
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
            archive.writestr(f"calib_jax-1.0.0.dist-info/{name}", "")
        for name in [*names, *([extra] if extra else [])]:
            archive.writestr(name, "")
    return sdist, wheel


def test_packages_have_every_file_of_the_library_and_no_other(tmp_path):
    names = ["calib_jax/__init__.py", "calib_jax/py.typed", "calib_jax/io/a.json"]
    for name in [*names, "calib_jax/__pycache__/a.pyc", "setup.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    packages.check_contents(tmp_path, *write_packages(tmp_path, names))
    with pytest.raises(Refusal, match=r"\.gz lacks calib_jax/io/a.json$"):
        packages.check_contents(tmp_path, *write_packages(tmp_path, names[:-1]))
    for extra in ("calib_jax/b.py", "tests/test_a.py"):
        with pytest.raises(Refusal, match=rf"\.whl has files .* lack: {extra}$"):
            packages.check_contents(tmp_path, *write_packages(tmp_path, names, extra))


def test_packages_are_built_into_an_empty_folder_alone(tmp_path):
    with pytest.raises(Refusal, match="got 0 and 0$"):
        packages.packages(tmp_path)
    (tmp_path / "old.whl").touch()
    with pytest.raises(Refusal, match="expected an empty folder, got "):
        packages.build(tmp_path, tmp_path)


@pytest.mark.slow
def test_a_release_builds_installs_and_runs_the_packages(tmp_path):
    pytest.importorskip("build")
    pytest.importorskip("twine")
    root = tmp_path / "work"
    left_out = shutil.ignore_patterns("__pycache__")
    for name in ("calib_jax", "release", "conda"):
        shutil.copytree(ROOT / name, root / name, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff"):
        shutil.copy(ROOT / name, root)
    (root / "CHANGELOG.md").write_text(CHANGES.format(NEXT), "utf-8")
    made(root)
    done = subprocess.run(
        [sys.executable, "-m", "release", "1.3.0"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully built calib_jax-1.3.0.tar.gz" in done.stdout
    assert done.stdout.count("PASSED") == 2
    assert "No broken requirements found." in done.stdout
    assert re.search(r"^Written: page.report\.html$", done.stdout, re.MULTILINE)
    assert versions.current(root) == "1.3.0" and git(root, "tag") == "v1.3.0"
