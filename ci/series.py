#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Composes patches/ and the rooms' trees into commits on the base kernel.

A patch in patches/ is a mail: headers (Subject:), message, a line `---`, lines `Adds: <path in the
kernel tree>` for the new files that it brings (a glob may name several; a literal name goes before a
glob, and the first glob takes a file), and then the diff of files that exist in the base.  New files
are not in the diff: they lie once, under <room>/tree/<path>.

A line that names a file which only a later patch adds (`mod x;`, `obj-y += x.o`, `source "x"`,
`#include "x"`, an entry of a toctree) is held back until that patch, so that every step builds.

  series.py tree [--force]        check the composed commits out in $BENTO_WORK/linux
  series.py series [--signoff]    write the series to build/series
  series.py check                 does the series, applied to the base, give the tree that we build?
  series.py commits               the composed commits, oldest first
  series.py list                  each patch and its files
  series.py refresh NNNN PATH...  take the edits of existing files from $BENTO_WORK/linux into that patch
"""

import argparse
import fcntl
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("BENTO_CACHE") or Path.home() / ".cache/bento")
WORK = Path(os.environ.get("BENTO_WORK") or CACHE / "work")
ROOMS = ["rust-bento", "fs-xv6", "fs-prov"]
LINUX = WORK / "linux"
EPOCH = 1767225600  # the base's date; each patch is a minute later
UNNAMED = "Files that no patch names yet"


def die(cause, remedy=None):
    print(f"error: {cause}", file=sys.stderr)
    if remedy:
        print(f"remedy: {remedy}", file=sys.stderr)
    sys.exit(1)


def say(text):
    print(f"== {text}", file=sys.stderr)


def git(*args, stdin=None, env=None, cwd=None, check=True):
    done = subprocess.run(
        ["git", *args],
        input=stdin,
        capture_output=True,
        cwd=cwd or LINUX,
        env={**os.environ, **(env or {})},
        check=False,
    )
    if check and done.returncode:
        die(f"git {' '.join(args[:3])}: {done.stderr.decode().strip()}")
    return done.stdout


def base():
    """Commit id of the base, and what it is."""
    try:
        commit, name = (CACHE / "base/current").read_text().strip().split(" ", 1)
    except FileNotFoundError:
        die("there is no base kernel yet", "run ci/base")
    return commit, name


def open_tree():
    """The build tree: a repository of its own that borrows the base's objects, so it can be copied."""
    if not (LINUX / ".git").is_dir():
        LINUX.mkdir(parents=True, exist_ok=True)
        git("init", "-q")
        # A copy has other inode numbers and change times, and is still the same tree.
        git("config", "core.checkStat", "minimal")
        git("config", "core.trustctime", "false")
        git("config", "gc.auto", "0")
        git("config", "advice.detachedHead", "false")
    alternates = LINUX / ".git/objects/info/alternates"
    alternates.parent.mkdir(exist_ok=True)
    wanted = f"{CACHE}/base/repo.git/objects\n"
    if not alternates.exists() or alternates.read_text() != wanted:
        alternates.write_text(wanted)


# --- what is written ---------------------------------------------------------------------------------


@dataclass
class Patch:
    path: Path
    subject: str
    message: str
    adds: list
    diff: str
    files: list = field(default_factory=list)  # new files, resolved from `adds`

    def edited(self):
        return re.findall(r"^\+\+\+ b/(\S+)", self.diff, re.M)


def read_patch(path):
    text = path.read_text()
    head, found, rest = text.partition("\n---\n")
    if not found:
        if not text.endswith("\n---"):
            die(f"{path.name} has no line '---' after its message")
        head, rest = text[:-4], ""
    headers, _, message = head.partition("\n\n")
    match = re.search(r"^Subject: (.*(?:\n .*)*)", headers, re.M)
    if not match:
        die(f"{path.name} has no Subject:")
    subject = re.sub(r"^\[[^\]]*\] ", "", re.sub(r"\n ", " ", match[1]))
    adds, _, diff = rest.partition("diff --git ")
    if diff:
        diff = "diff --git " + diff
    names = re.findall(r"^Adds: (\S+)$", adds, re.M)
    return Patch(path, subject, message.strip(), names, diff)


def new_files():
    """Every file of ours: its path in the kernel tree, and where it lies."""
    found = {}
    for room in ROOMS:
        top = ROOT / room / "tree"
        for path in sorted(top.rglob("*")):
            if path.is_dir() or path.name.endswith((".orig", ".rej", "~", ".swp")):
                continue
            name = path.relative_to(top).as_posix()
            if name in found:
                die(f"{name} is in two rooms: {found[name]} and {path}")
            found[name] = path
    return found


def read_series():
    files = new_files()
    patches = [read_patch(p) for p in sorted((ROOT / "patches").glob("[0-9]*.patch"))]
    taken = {}
    for patch in patches:
        for name in patch.adds:
            if name in taken:
                die(f"{name} is added by {taken[name].path.name} and {patch.path.name}")
            if name in files:
                taken[name] = patch
                patch.files.append(name)
            elif not re.search(r"[*?[]", name):
                die(f"{patch.path.name} adds {name}, which is in no room's tree/")
    for patch in patches:
        for pattern in patch.adds:
            for name in sorted(files):
                if name not in taken and fnmatch.fnmatch(name, pattern):
                    taken[name] = patch
                    patch.files.append(name)
    return patches, files, [name for name in sorted(files) if name not in taken]


# --- holding lines back ------------------------------------------------------------------------------


class Holder:
    """Knows which of our files a step has, and so which lines it must not show yet."""

    def __init__(self, ours, present):
        self.missing = set(ours) - set(present)
        self.ours = set(ours)

    def render(self, name, data):
        if not self.missing:
            return data
        path = PurePosixPath(name)
        if path.suffix == ".rs":
            return self.rust(path, data)
        if path.name in ("Makefile", "Kbuild"):
            return self.lines(data, lambda line: self.makefile(path, line))
        if path.name.startswith("Kconfig"):
            return self.lines(data, self.kconfig)
        if path.suffix in (".c", ".h", ".S"):
            return self.lines(data, lambda line: self.include(path, line))
        if path.suffix == ".rst":
            return self.lines(data, lambda line: self.toctree(path, line))
        return data

    @staticmethod
    def lines(data, held):
        text = data.decode()
        return "".join(l for l in text.splitlines(True) if not held(l)).encode()

    def makefile(self, path, line):
        match = re.match(r"^[\w$()/.-]+\s*[+:]?=\s*(.*)", line)
        for token in match[1].split() if match else []:
            target = (path.parent / token).as_posix()
            if token.endswith("/"):
                hit = f"{target}/Makefile" in self.missing
            elif token.endswith(".o"):
                hit = any(target[:-2] + s in self.missing for s in (".c", ".rs", ".S"))
            else:
                hit = False
            if hit:
                return True
        return False

    def kconfig(self, line):
        match = re.match(r'^\s*source\s+"(.*)"', line)
        return bool(match) and match[1] in self.missing

    def include(self, path, line):
        match = re.match(r'^\s*#\s*include\s+(["<])(.*)[">]', line)
        if not match:
            return False
        names = [f"include/{match[2]}"]
        if match[1] == '"':
            names.append((path.parent / match[2]).as_posix())
        return any(n in self.missing for n in names)

    def toctree(self, path, line):
        match = re.match(r"^ {3,}([\w/-]+)$", line.rstrip())
        return bool(match) and (path.parent / f"{match[1]}.rst").as_posix() in self.missing

    def rust_target(self, path, name, attribute):
        if attribute:
            return os.path.normpath(path.parent / attribute)
        below = (path.parent / path.stem / f"{name}.rs").as_posix()
        beside = (path.parent / f"{name}.rs").as_posix()
        return below if below in self.ours else beside

    def rust(self, path, data):
        out, held = [], []
        lines = data.decode().splitlines(True)
        at = 0
        while at < len(lines):
            line = lines[at]
            at += 1
            match = re.match(r"^\s*(?:pub(?:\([^)]*\))? )?mod (\w+);", line)
            if match:
                start = len(out)
                while start and re.match(r"^\s*(#\[|///)", out[start - 1]):
                    start -= 1
                attribute = re.search(r'#\[path = "(.*)"\]', "".join(out[start:]))
                target = self.rust_target(path, match[1], attribute and attribute[1])
                if target in self.missing:
                    held.append(match[1])
                    del out[start:]
                    continue
            match = re.match(r"^\s*(?:pub(?:\([^)]*\))? )?use (?:self::)?(\w+)::", line)
            if match and match[1] in held:
                while ";" not in line and at < len(lines):
                    line = lines[at]
                    at += 1
                continue
            out.append(line)
        return "".join(out).encode()


# --- composing ---------------------------------------------------------------------------------------


def identity(real):
    """The build tree's commits have a fixed author, so their ids say only what is in them."""
    if not real:
        return "bento", "bento@localhost"
    name = git("config", "user.name", cwd=ROOT, check=False).decode().strip()
    mail = git("config", "user.email", cwd=ROOT, check=False).decode().strip()
    if not name or not mail:
        die("git knows no author for the series", "git config user.name ... and user.email ...")
    return name, mail


def apply_diff(patch, state, commit):
    """The patch's edits on `state`, which holds the files that earlier patches touched."""
    names = patch.edited()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if name not in state:
                state[name] = git("cat-file", "blob", f"{commit}:{name}")
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(state[name])
        done = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", "-"],
            input=patch.diff.encode(),
            cwd=folder,
            capture_output=True,
            env={**os.environ, "GIT_DIR": "/nonexistent"},
            check=False,
        )
        if done.returncode:
            die(
                f"{patch.path.name} does not apply to the base: {done.stderr.decode().strip()}",
                "mend its diff, or edit the file in the build tree and run: ci/series.py refresh",
            )
        for name in names:
            state[name] = Path(folder, name).read_bytes()


def compose(real_author=False, allow_unnamed=True):
    """Writes the commits; answers [(commit, patch)], the last one being what is built."""
    commit, base_name = base()
    patches, ours, unnamed = read_series()
    if unnamed:
        text = ", ".join(unnamed[:8]) + (" ..." if len(unnamed) > 8 else "")
        if not allow_unnamed:
            die(f"no patch adds {text}", "add an `Adds:` line to a patch in patches/")
        say(f"series: no patch adds these yet: {text}")
        patches.append(Patch(Path("unnamed"), UNNAMED, UNNAMED + ".", [], "", unnamed))
    name, mail = identity(real_author)
    env = {"GIT_INDEX_FILE": str(LINUX / ".git/bento-index")}
    git("read-tree", commit, env=env)
    state, modes, shown, present, done = {}, {}, {}, set(), []
    parent = commit
    for number, patch in enumerate(patches):
        if patch.diff:
            apply_diff(patch, state, commit)
        for path in patch.files:
            if path in state:
                die(f"{patch.path.name} adds {path}, which the base has")
            state[path] = ours[path].read_bytes()
            modes[path] = "100755" if os.access(ours[path], os.X_OK) else "100644"
        present.update(patch.files)
        holder = Holder(ours, present)
        info = []
        for path, data in state.items():
            data = holder.render(path, data)
            if shown.get(path) == data:
                continue
            if path not in modes:
                modes[path] = git("ls-tree", commit, "--", path).split()[0].decode()
            shown[path] = data
            blob = git("hash-object", "-w", "--stdin", stdin=data).decode().strip()
            info.append(f"{modes[path]} {blob}\t{path}\n")
        git("update-index", "--index-info", stdin="".join(info).encode(), env=env)
        tree = git("write-tree", env=env).decode().strip()
        date = f"{EPOCH + 60 * (number + 1)} +0000"
        parent = (
            git(
                "commit-tree",
                tree,
                "-p",
                parent,
                stdin=f"{patch.subject}\n\n{patch.message}\n".encode(),
                env={
                    "GIT_AUTHOR_NAME": name,
                    "GIT_AUTHOR_EMAIL": mail,
                    "GIT_AUTHOR_DATE": date,
                    "GIT_COMMITTER_NAME": name,
                    "GIT_COMMITTER_EMAIL": mail,
                    "GIT_COMMITTER_DATE": date,
                },
            )
            .decode()
            .strip()
        )
        done.append((parent, patch))
    return commit, base_name, done


def lock_build():
    path = CACHE / "lock" / ("build-" + str(WORK).replace("/", "_"))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open(path, "w", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for a build in the same BENTO_WORK to finish")
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def cmd_tree(args):
    held = lock_build()
    open_tree()
    commit, base_name, steps = compose()
    tip = steps[-1][0] if steps else commit
    fresh = git("rev-parse", "-q", "--verify", "HEAD", check=False).decode().strip()
    if fresh:
        dirty = git("diff-index", "--name-only", "HEAD", "--").decode().split()
        if dirty and git("status", "--porcelain", "-uno"):
            if not args.force:
                die(
                    f"files in {LINUX} were edited: {' '.join(dirty[:5])}",
                    "ci/series.py refresh NNNN FILE keeps them, ci/series.py tree --force drops them",
                )
            git("reset", "-q", "--hard")
    if fresh != tip:
        # Only files that differ are written, so the build sees only them as new.
        git("-c", "core.looseCompression=1", "checkout", "-q", "--detach", tip)
    (WORK / "base").write_text(f"{commit} {base_name}\n")
    say(f"series: {len(steps)} patches on {base_name}, tree {tip[:12]}" + ("" if fresh != tip else " (as before)"))
    held.close()


def cmd_series(args):
    open_tree()
    commit, base_name, steps = compose(real_author=True, allow_unnamed=False)
    out = ROOT / "build/series"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    name, mail = identity(True)
    flags = ["--signoff"] if args.signoff else []
    env = {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": mail}
    git("format-patch", "-q", "--cover-letter", "--thread=shallow", f"--base={commit}", *flags,
        "-o", str(out), f"{commit}..{steps[-1][0]}", env={**env, "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": mail})
    cover = out / "0000-cover-letter.patch"
    words = (ROOT / "patches/cover-letter.txt").read_text()
    words = "".join(l for l in words.splitlines(True) if not l.startswith("#"))
    subject, _, blurb = words.strip().partition("\n\n")
    text = cover.read_text().replace("*** SUBJECT HERE ***", subject)
    cover.write_text(text.replace("*** BLURB HERE ***", f"{blurb}\n\nBase: {base_name}."))
    say(f"series: {len(steps)} patches and a cover letter in {out.relative_to(ROOT)}, on {base_name}")


def cmd_check(_args):
    """Applies the mails to the base with git am, in a tree of its own, and compares tree ids."""
    open_tree()
    commit, _, steps = compose(real_author=True, allow_unnamed=False)
    mails = sorted((ROOT / "build/series").glob("[0-9]*.patch"))[1:]
    if len(mails) != len(steps):
        die("build/series is not of today", "run: ci/series.py series")
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        git("init", "-q", cwd=folder)
        Path(folder, ".git/objects/info/alternates").write_text(f"{LINUX}/.git/objects\n{CACHE}/base/repo.git/objects\n")
        git("config", "core.sparseCheckout", "true", cwd=folder)
        # git am needs only the files that the patches touch to be there
        touched = git("diff", "--name-only", commit, steps[-1][0]).decode()
        Path(folder, ".git/info/sparse-checkout").write_text("".join(f"/{p}\n" for p in touched.split()))
        git("checkout", "-q", "--detach", commit, cwd=folder)
        git("am", "-q", *map(str, mails), cwd=folder)
        got = git("rev-parse", "HEAD^{tree}", cwd=folder).decode().strip()
    want = git("rev-parse", steps[-1][0] + "^{tree}").decode().strip()
    if got != want:
        die(f"git am gives tree {got}, we build {want}")
    say(f"series: git am on the base gives tree {want}, the one that we build")


def cmd_commits(_args):
    """The commits, oldest first, as `id subject`."""
    open_tree()
    _, _, steps = compose(allow_unnamed=False)
    for commit, patch in steps:
        print(commit, patch.subject)


def cmd_list(_args):
    patches, _, unnamed = read_series()
    for patch in patches:
        print(f"{patch.path.name}: {patch.subject}")
        for path in patch.files:
            print(f"    adds  {path}")
        for path in patch.edited():
            print(f"    edits {path}")
    for path in unnamed:
        print(f"unnamed   {path}")


def cmd_refresh(args):
    open_tree()
    commit, _ = base()
    patches, ours, _ = read_series()
    state = {}
    for patch in patches:
        if patch.path.name.startswith(args.patch):
            break
        if patch.diff:
            apply_diff(patch, state, commit)
    else:
        die(f"no patch is called {args.patch}*")
    names = list(dict.fromkeys(patch.edited() + args.paths))
    for later in patches[patches.index(patch) + 1:]:
        for name in set(later.edited()) & set(args.paths):
            die(f"{later.path.name} edits {name} too", "mend the two diffs by hand")
    own = dict(state)
    if patch.diff:
        apply_diff(patch, own, commit)
    parts = []
    for name in sorted(names):
        if name in ours:
            die(f"{name} is a file of ours", f"edit {ours[name]}")
        before = state[name] if name in state else git("cat-file", "blob", f"{commit}:{name}")
        after = (LINUX / name).read_bytes() if name in args.paths else own[name]
        with tempfile.TemporaryDirectory() as folder:
            for side, data in (("a", before), ("b", after)):
                target = Path(folder, side, name)
                target.parent.mkdir(parents=True)
                target.write_bytes(data)
            diff = git("diff", "--no-index", "--no-prefix", "--no-color", f"a/{name}", f"b/{name}", cwd=folder, check=False)
        parts.append(re.sub(r"^index .*\n", "", diff.decode(), flags=re.M))
    text = patch.path.read_text().partition("diff --git ")[0]
    patch.path.write_text(text.rstrip("\n") + "\n\n" + "".join(parts))
    say(f"series: {patch.path.name} edits {', '.join(sorted(names))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = parser.add_subparsers(required=True)
    tree = sub.add_parser("tree")
    tree.add_argument("--force", action="store_true")
    tree.set_defaults(run=cmd_tree)
    series = sub.add_parser("series")
    series.add_argument("--signoff", action="store_true")
    series.set_defaults(run=cmd_series)
    sub.add_parser("check").set_defaults(run=cmd_check)
    sub.add_parser("commits").set_defaults(run=cmd_commits)
    sub.add_parser("list").set_defaults(run=cmd_list)
    refresh = sub.add_parser("refresh")
    refresh.add_argument("patch")
    refresh.add_argument("paths", nargs="+")
    refresh.set_defaults(run=cmd_refresh)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
