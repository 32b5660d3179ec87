"""Builds the extension module pyasync._core from every csrc/**/*.c against the system's libuv.

Environment:
  PYASYNC_DEV=1   adds -Wall -Wextra -Wshadow -Werror
  PYASYNC_ASAN=1  AddressSanitizer and UndefinedBehaviorSanitizer, no LTO, no freelists
  PYASYNC_UV_POLL=1  watches descriptors through libuv on Linux too (csrc/loop/backend.h)
  CC, CFLAGS, LDFLAGS, PKG_CONFIG, PKG_CONFIG_PATH  as everywhere

Object files lie in build/obj-<interpreter> and are made again when their source, any header or the
flags changed, several at a time. Interpreters with different ABI tags build side by side in one
tree without touching each other's files. Everything else about the package is in pyproject.toml.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
LIBUV_MINIMUM = "1.44"

# No strict aliasing: libuv hands out uv_tcp_t as uv_stream_t as uv_handle_t, and the task overlay
# looks at CPython's structs through its own; under LTO the compiler would see both sides.
COMMON_FLAGS = ["-std=c11", "-fvisibility=hidden", "-fno-strict-aliasing"]
# No PLT: CPython loads modules with all symbols bound, and calls of its API are what a task step is
# made of (an awaited future costs 257 ns instead of 267, sleep(0) 188 instead of 196).
RELEASE_FLAGS = ["-O2", "-fno-plt"] if sys.platform == "linux" else ["-O2"]
ASAN_FLAGS = [
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-omit-frame-pointer",
    "-UNDEBUG",
    "-DPA_NO_FREELISTS",
]
WARNING_FLAGS = [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Werror",
    # CPython fixes the signatures of slots and methods; not every slot needs all of its arguments.
    "-Wno-unused-parameter",
    # PyMethodDef, PyGetSetDef and PyMemberDef tables end in {NULL} and leave out what is zero.
    "-Wno-missing-field-initializers",
    # PyMethodDef stores METH_FASTCALL functions as PyCFunction: CPython asks for the cast.
    "-Wno-cast-function-type",
]

HOW_TO_INSTALL = """\
Install what is missing, then try again:
  Debian, Ubuntu  apt-get install gcc libc6-dev pkg-config libuv1-dev python3-dev
  Fedora          dnf install gcc pkgconf-pkg-config libuv-devel python3-devel
  Alpine          apk add gcc musl-dev pkgconf libuv-dev python3-dev
  macOS           xcode-select --install; brew install pkgconf libuv"""


def enabled(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def pkg_config_command() -> str:
    return os.environ.get("PKG_CONFIG", "pkg-config")


def pkg_config(*arguments: str) -> str | None:
    """The output of pkg-config about libuv, None if it has none or does not meet the arguments."""
    done = subprocess.run(
        [pkg_config_command(), *arguments, "libuv"], capture_output=True, text=True
    )
    return done.stdout.strip() if done.returncode == 0 else None


def missing_libuv() -> str | None:
    version = pkg_config("--modversion")
    if version is None:
        return f"libuv {LIBUV_MINIMUM} or newer (pkg-config does not find libuv)"
    if pkg_config(f"--atleast-version={LIBUV_MINIMUM}") is None:
        return f"libuv {LIBUV_MINIMUM} or newer (pkg-config finds {version})"
    return None


def require_tools(compiler: str) -> None:
    """Ends the build with one message: all that is missing, and the packages to install."""
    missing = []
    if shutil.which(compiler) is None:
        missing.append(f"a C compiler ({compiler!r} is not on PATH)")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        missing.append(f"the headers of Python {sys.version.split()[0]} (no {header})")
    if shutil.which(pkg_config_command()) is None:
        missing.append(f"pkg-config ({pkg_config_command()!r} is not on PATH)")
        missing.append(f"libuv {LIBUV_MINIMUM} or newer (pkg-config is needed to find it)")
    elif libuv := missing_libuv():
        missing.append(libuv)
    if missing:
        listing = "".join(f"\n  - {what}" for what in missing)
        raise SystemExit(f"\npyasync cannot be built here. Missing:{listing}\n{HOW_TO_INSTALL}\n")


def links_with(compiler: str, flags: list[str]) -> bool:
    """Whether a shared library can be made with these flags (clang may lack its LTO plugin)."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("int probe(void) { return 0; }\n")
        command = [compiler, *flags, "-shared", "-fPIC", str(source), "-o", f"{folder}/probe.so"]
        return subprocess.run(command, capture_output=True).returncode == 0


def lto_flags(compiler: str) -> list[str]:
    for flags in (["-flto=auto"], ["-flto"]):
        if links_with(compiler, flags):
            return flags
    return []


def usable_processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class BuildStamp:
    """What the object folder was built from, so that a later build knows what it may keep.

    Objects made with warnings as errors serve a build without them, not the other way round.
    """

    def __init__(self, folder: Path, command: str, strict: bool) -> None:
        self.file = folder / "stamp"
        self.command = command
        self.strict = strict
        self.warning_flags = WARNING_FLAGS if strict else []
        self.objects: list[str] = []

    def begin(self) -> bool:
        """Whether the objects may be kept. No stamp until end(): a broken build leaves none."""
        if not self.file.exists():
            return False
        command, strict, *self.objects = self.file.read_text().splitlines()
        self.file.unlink()
        if command != self.command or (self.strict and strict != "strict"):
            self.objects = []
            return False
        self.strict = strict == "strict"
        return True

    def linked_from(self, target: Path, objects: list[str]) -> bool:
        """Whether the target was linked from just these objects as they are now."""
        if objects != self.objects or not target.exists():
            return False
        return max(map(os.path.getmtime, objects)) <= target.stat().st_mtime

    def end(self, objects: list[str]) -> None:
        lines = [self.command, "strict" if self.strict else "plain", *objects]
        self.file.write_text("\n".join(lines) + "\n")


class BuildCore(build_ext):
    """build_ext that checks the tools first, compiles in parallel and only what changed."""

    def run(self) -> None:
        self.parallel = None  # one extension; the parallelism is over its files, below
        super().run()

    def build_extension(self, ext: Extension) -> None:
        command = self.compiler.compiler_so
        compiler = next(word for word in command if "=" not in word and Path(word).name != "ccache")
        require_tools(compiler)
        flags = self.code_flags(compiler)
        self.set_up_compiler(flags)
        target = Path(self.get_ext_fullpath(ext.name))
        folder = ROOT / "build" / ("obj-" + target.name.split(".", 1)[1].removesuffix(".so"))
        if enabled("PYASYNC_ASAN"):
            folder = folder.with_name(folder.name + "-asan")
        stamp = BuildStamp(folder, shlex.join([*command, *flags]), enabled("PYASYNC_DEV"))
        keep = stamp.begin() and not self.force
        objects = self.compile_changed(ext, folder, [*flags, *stamp.warning_flags], keep)
        if not stamp.linked_from(target, objects):
            self.link(objects, target, flags)
        stamp.end(objects)

    def code_flags(self, compiler: str) -> list[str]:
        """The flags that decide what code comes out, as pyasync.build_info() reports them."""
        common = [*COMMON_FLAGS, *(["-DPA_UV_POLL"] if enabled("PYASYNC_UV_POLL") else [])]
        if enabled("PYASYNC_ASAN"):
            return [*common, *ASAN_FLAGS]
        return [*common, *RELEASE_FLAGS, *lto_flags(compiler)]

    def set_up_compiler(self, flags: list[str]) -> None:
        self.compiler.define_macro("PA_BUILD_FLAGS", f'"{" ".join(flags)}"')
        self.libuv_compile = shlex.split(pkg_config("--cflags") or "")
        self.libuv_link = shlex.split(pkg_config("--libs") or "")

    def compile_changed(
        self, ext: Extension, folder: Path, flags: list[str], keep: bool
    ) -> list[str]:
        """Compiles each source whose object is older than it or any header; returns all objects."""
        newest_header = max((os.path.getmtime(path) for path in ext.depends), default=0)
        objects = {source: folder / Path(source).with_suffix(".o") for source in ext.sources}

        def stale(source: str, made: Path) -> bool:
            if not keep or not made.exists():
                return True
            return made.stat().st_mtime <= max(newest_header, os.path.getmtime(source))

        def compile_one(source: str) -> None:
            self.compiler.compile(
                [source],
                output_dir=str(folder),
                include_dirs=ext.include_dirs,
                extra_postargs=[*self.libuv_compile, *flags],
            )

        for made in objects.values():
            made.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(usable_processors()) as pool:
            list(pool.map(compile_one, [s for s, made in objects.items() if stale(s, made)]))
        return [str(made) for made in objects.values()]

    def link(self, objects: list[str], target: Path, flags: list[str]) -> None:
        """Links under another name first: a test run may have the old file mapped."""
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f"{target.name}.{os.getpid()}")
        self.compiler.link_shared_object(
            objects, str(new), extra_postargs=[*flags, *self.libuv_link], target_lang="c"
        )
        os.replace(new, target)


def relative(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob(pattern))


setup(
    ext_modules=[
        Extension("pyasync._core", relative("*.c"), include_dirs=["csrc"], depends=relative("*.h"))
    ],
    cmdclass={"build_ext": BuildCore},
)
