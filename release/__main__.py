"""Prepares a release: `python -m release 0.2.0`, in a clean checkout of main.

It checks that the version may come next and that the changelog says what changed;
builds, installs and tries the packages with the new version; then writes version and
date, commits and tags. Nothing is pushed. The tag, once pushed, starts
`.github/workflows/release.yml`, which publishes.
"""

import argparse
import datetime
import sys
import tarfile
import tempfile
from pathlib import Path

from . import packages, versions
from .refusals import Refusal, output, run

ROOT = Path(__file__).parents[1]


def check(root: Path, version: str) -> None:
    """Refuses what is not ready, before anything is built."""
    changes = output(["git", "status", "--porcelain"], root)
    if changes:
        raise Refusal(
            f"expected a clean checkout, got {len(changes.splitlines())} changed "
            "files: commit or remove them (git status)"
        )
    branch = output(["git", "rev-parse", "--abbrev-ref", "HEAD"], root)
    if branch != "main":
        raise Refusal(f"expected the branch main, got {branch}: git switch main")
    tag = f"v{version}"
    if output(["git", "tag", "--list", tag], root):
        raise Refusal(f"the tag {tag} exists: choose the next version")
    versions.check_next(root, version)


def release(root: Path, version: str, dry_run: bool) -> None:
    """Everything up to the tag, or up to the commit in a dry run.

    Raises:
      Refusal: if something is not ready. The checkout is then as it was.
    """
    check(root, version)
    today = datetime.date.today()
    with tempfile.TemporaryDirectory() as name:
        # The commit's own files: what a checkout has besides them is in no package.
        tree, archive = Path(name, "tree"), Path(name, "tree.tar")
        run(["git", "archive", "--output", str(archive), "HEAD"], root)
        with tarfile.open(archive) as files:
            files.extractall(tree, filter="data")
        versions.write(tree, version, today)
        packages.build(tree, Path(name, "dist"))
    if dry_run:
        print(f"{version} is ready: run this again without --dry-run")
        return
    versions.write(root, version, today)
    changed = [*versions.PLACES, versions.CHANGELOG]
    try:
        run(["git", "commit", "-q", "-m", f"Release {version}", "--", *changed], root)
    except Refusal:
        run(["git", "restore", "--staged", "--worktree", "--", *changed], root)
        raise
    run(["git", "tag", "-a", f"v{version}", "-m", f"calib_jax {version}"], root)
    print(f"To publish: git push --atomic origin main v{version}")


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("version", help="three numbers, such as 0.2.0")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check, build and try; change nothing",
    )
    asked = parser.parse_args(argv)
    try:
        release(root, asked.version, asked.dry_run)
    except Refusal as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
