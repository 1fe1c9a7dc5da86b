"""What TTNN requires before it opens a device: a runtime root, a compiler, a cluster description.

On a mocked cluster nothing that is compiled is ever executed, so a compiler that writes files the
loader accepts is enough. Everything lives in a folder of its own, with links to the ttnn package.
"""

import contextlib
import functools
import os
import pathlib
import struct
from collections.abc import Iterator

import ttnn

from ttnn_emulator.machine import folders, systems

PREFIX = "ttnn-emulated-"  # of the folder in the system's folder for temporary files
MPI_TRANSPORT = "OMPI_MCA_btl"  # Open MPI's variable for the ways in which processes are reached

# A shell script, because TTNN starts it about ten times for a program: 2 ms each against 30 ms for
# Python. Objects are empty, firmware is the one shipped with ttnn, a kernel is KERNEL_ELF. The
# dependency file beside an object must exist or TTNN's kernel cache raises.
COMPILER = """\
#!/bin/sh
case "$1" in --version) echo "riscv-tt-elf-g++ (stub, builds nothing) 15.1.0"; exit 0;; esac
for a in "$@"; do [ "$previous" = -o ] && out="$a"; previous="$a"; done
case "$out" in
  */firmware/*.elf*)
    name=$(basename "$out"); name=${{name%%.*}}; cp "{firmware}/$name/$name.elf" "$out";;
  *.elf*) cp "{kernel}" "$out";;
  *.o) : > "$out"; echo "$out: " > "${{out%.o}}.d";;
  *) : > "$out";;
esac
"""


def kernel_elf(address: int = 0x5000) -> bytes:
    """Bytes of a 32-bit RISC-V executable that TTNN's loader accepts: it returns at once.

    The loader (tt_elffile.cpp) wants one text segment, a symbol table and a relocation section.
    """
    text = struct.pack("<4I", 0x00008067, 0x13, 0x13, 0x13)  # ret; nop; nop; nop
    section_names = b"\0.text\0.rela.text\0.symtab\0.strtab\0.shstrtab\0"
    symbol_names = b"\0_start\0"
    symbols = bytes(16) + struct.pack("<IIIBBH", 1, address, len(text), 0x12, 0, 1)
    relocations = struct.pack("<IIi", address + 4, (1 << 8) | 51, 0)  # R_RISCV_RELAX

    offsets, end = [], 52 + 32  # after the ELF header and one program header
    for part in (text, relocations, symbols, symbol_names, section_names):
        offsets.append(end)
        end += len(part)
    table = (end + 3) & ~3

    def section(name: bytes, *fields: int) -> bytes:
        """Fields of an Elf32_Shdr after its name: type, flags, address, offset, size, link, info,
        alignment, size of an entry."""
        return struct.pack("<10I", section_names.index(b"\0" + name + b"\0") + 1, *fields)

    sections = bytes(40)
    sections += section(b".text", 1, 6, address, offsets[0], len(text), 0, 0, 4, 0)
    sections += section(b".rela.text", 4, 0x40, 0, offsets[1], len(relocations), 3, 1, 4, 12)
    sections += section(b".symtab", 2, 0, 0, offsets[2], len(symbols), 4, 1, 4, 16)
    sections += section(b".strtab", 3, 0, 0, offsets[3], len(symbol_names), 0, 0, 1, 0)
    sections += section(b".shstrtab", 3, 0, 0, offsets[4], len(section_names), 0, 0, 1, 0)

    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIIIIIHHHHHH", 2, 243, 1, address, 52, table, 0, 52, 32, 1, 40, len(sections) // 40, 5
    )
    program = struct.pack("<8I", 1, offsets[0], address, address, len(text), len(text), 5, 4)
    body = header + program + text + relocations + symbols + symbol_names + section_names
    return body + bytes(table - len(body)) + sections


def wormhole_firmware(package: pathlib.Path) -> pathlib.Path:
    """The folder of shipped firmware that has an `erisc`: only Wormhole's set does."""
    eriscs = sorted((package / "tt_metal" / "pre-compiled").glob("*/erisc"))
    if not eriscs:
        raise RuntimeError(
            f"ttnn in {package} ships no Wormhole firmware under tt_metal/pre-compiled; "
            "the emulation is made for ttnn 0.81.1 from PyPI."
        )
    return eriscs[0].parent


class OtherSystem(RuntimeError):
    """The process has emulated another system before: TTNN looks for chips once in a process."""


@contextlib.contextmanager
def environment(system: systems.System) -> Iterator[None]:
    """Environment variables that point TTNN at the runtime root, put back at the end of the block.

    Must begin before the process opens its first device.

    Raises:
        OtherSystem: see there.
    """
    global _system
    if _system not in (None, system):
        raise OtherSystem(
            f"This process has emulated {article(_system.name)} and cannot become "
            f"{article(system.name)}; that needs a process of its own."
        )
    _system = system
    with _variables(runtime_root(system)):
        yield


_system: systems.System | None = None  # that TTNN has been told of in this process


def article(system: str) -> str:
    """A system's name, with its article."""
    return f"{'a' if system.startswith('t') else 'an'} {system}"


@contextlib.contextmanager
def opening() -> Iterator[None]:
    """For the time in which TTNN opens a device, when its MPI makes folders of its own."""
    with _variables({"TMPDIR": str(_root())}):
        yield


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def runtime_root(system: systems.System = systems.N150) -> dict[str, str]:
    """Make the runtime root of this process; the environment variables that TTNN finds it by.

    What TTNN and its MPI would otherwise leave or open elsewhere is kept there, too, or not made
    at all.
    """
    root = _root()
    cluster = root / f"{system.name}.yaml"
    cluster.write_text(system.described())
    return {
        "TT_METAL_RUNTIME_ROOT": str(root),
        "TT_METAL_CACHE": str(root / "cache"),
        "TT_METAL_MOCK_CLUSTER_DESC_PATH": str(cluster),
        "TT_METAL_LOGGER_LEVEL": os.environ.get("TT_METAL_LOGGER_LEVEL", "error"),
        # "generated", which would lie in the current folder
        "TT_METAL_LOGS_PATH": os.environ.get("TT_METAL_LOGS_PATH") or str(root),
        # MPI within a process alone: its other ways listen on a port of every network, and leave
        # 16 MB in /dev/shm where a process is killed
        MPI_TRANSPORT: os.environ.get(MPI_TRANSPORT) or "self",
    }


@functools.cache
def _root() -> pathlib.Path:
    """The folder, which goes away with the process, or with the next one if it was killed."""
    package = pathlib.Path(ttnn.__file__).parent
    root = folders.temporary(PREFIX)
    for name in ("tt_metal", "ttnn", "build"):
        (root / name).symlink_to(package / name)
    (root / "runtime").mkdir()
    (root / "runtime" / "hw").symlink_to(package / "runtime" / "hw")
    kernel = root / "kernel.elf"
    kernel.write_bytes(kernel_elf())
    compiler = root / "runtime" / "sfpi" / "compiler" / "bin" / "riscv-tt-elf-g++"
    compiler.parent.mkdir(parents=True)
    compiler.write_text(COMPILER.format(firmware=wormhole_firmware(package), kernel=kernel))
    compiler.chmod(0o755)
    return root
