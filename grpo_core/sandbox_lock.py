"""What a worker gives up before it runs a user's code: files, network, other processes.

On Linux through ctypes and without privileges: Landlock denies files, TCP and signals to other
processes; a seccomp filter denies the rest. Both are for good, and hold for all that the process
starts. On macOS see `sandbox_seatbelt.py`. Whether anything holds on this machine is for
`sandbox_probe.py` to find out by trying.

Landlock: https://docs.kernel.org/userspace-api/landlock.html. Seccomp and its programs:
https://docs.kernel.org/userspace-api/seccomp_filter.html. Only the standard library, see
`sandbox_worker.py`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

_SYSTEM = (
    "/usr/lib", "/usr/local/lib", "/lib", "/lib64", "/usr/lib64", "/usr/share/zoneinfo",
    "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/random",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu",
)  # fmt: skip
"""What Python's libraries read. Nothing of it is a person's."""

_libc = ctypes.CDLL(None, use_errno=True)


def lock(watched: int, paths: list[str] | None = None) -> list[str]:
    """Give up what this kernel lets us; returns the names of the layers that hold.

    `paths` is what `readable` says, which takes longer to find out than all the rest.

    `watched` is a pipe whose end tells the kernel to kill this process: it can be neither closed
    nor replaced nor copied afterwards.
    """
    if sys.platform == "darwin":
        from grpo_core import sandbox_seatbelt  # noqa: PLC0415  nobody else pays for it

        with suppress(OSError):
            sandbox_seatbelt.lock(readable() if paths is None else paths)
            return ["seatbelt"]
        return []
    held = []
    with suppress(OSError):
        _check(_libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS, which the others ask for
        _drop_capabilities()
        held.append("privileges")
    with suppress(OSError):
        _landlock(readable() if paths is None else paths)
        held.append("landlock")
    with suppress(OSError):
        _seccomp(watched)
        held.append("seccomp")
    return held


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _drop_capabilities() -> None:
    """What root may do beyond others, but for reading files in folders that are not its own, as a
    virtual environment may be; which files at all is Landlock's business."""
    if os.geteuid() != 0:
        return
    call = {"x86_64": 126, "aarch64": 91}.get(platform.machine())
    if call is None:
        return
    version_3, keep = 0x20080522, 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    header = struct.pack("<Ii", version_3, 0)
    _check(_libc.syscall(call, header, struct.pack("<6I", keep, keep, 0, 0, 0, 0)))


# --- files, TCP, signals --------------------------------------------------------------------------

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3


def readable() -> list[str]:
    """Python, its packages, this package, and what they read of the system."""
    paths = sysconfig.get_paths()
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    own = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    own += [str(Path(prefix) / name) for prefix in prefixes for name in ("lib", "lib64")]
    package = Path(__file__).parent
    if package.parent.name in ("site-packages", "dist-packages"):  # also those of one user
        package = package.parent
    return [*_SYSTEM, *own, str(package)]


def _landlock(paths: list[str]) -> None:
    """Read these files and folders, and nothing else of the file system; no TCP, no signals and no
    abstract sockets out of this process, where the kernel knows these."""
    create, add, restrict = 444, 445, 446
    abi = _check(_libc.syscall(create, None, 0, 1))
    files = (1 << 13) - 1
    files |= sum(1 << bit for bit, since in ((13, 2), (14, 3), (15, 5)) if abi >= since)
    tcp, scopes = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = _check(_libc.syscall(create, struct.pack("<QQQ", files, tcp, scopes), size, 0))
    try:
        for path in [*paths, os.devnull]:
            with suppress(FileNotFoundError, PermissionError):
                handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
                allowed = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
                allowed |= _WRITE_FILE if path == os.devnull else 0
                try:
                    rule = struct.pack("<Qi", allowed, handle)
                    _check(_libc.syscall(add, ruleset, 1, rule, 0))
                finally:
                    os.close(handle)
        _check(_libc.syscall(restrict, ruleset, 0))
    finally:
        os.close(ruleset)


# --- system calls ---------------------------------------------------------------------------------

_DENIED = {
    # network
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "connect": (42, 203), "sendto": (44, 206),
    # programs and processes
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "setpgid": (109, 154), "setsid": (112, 157), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "setpriority": (141, 140),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "ioprio_set": (251, 30),
    "personality": (135, 92),
    # what Landlock does not cover of files
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "truncate": (76, 45), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "file_setattr": (469, 469),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "inotify_init": (253, None), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    # memory that no limit counts, and that outlives the process
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "shmat": (30, 196), "shmctl": (31, 195), "semop": (65, 193), "semtimedop": (220, 192),
    "semctl": (66, 191), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_unlink": (241, 181), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # the kernel itself
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "syslog": (103, 116), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58),
    "iopl": (172, None), "ioperm": (173, None),
}  # fmt: skip
"""Numbers on x86_64 and aarch64, from the kernel's tables; None where there is no such call."""
_PARTLY = {
    "clone": (56, 220), "clone3": (435, 435), "kill": (62, 129), "tgkill": (234, 131),
    "prlimit64": (302, 261), "sched_setaffinity": (203, 122), "close": (3, 57),
    "close_range": (436, 436), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "fcntl": (72, 25), "ioctl": (16, 29), "prctl": (157, 167),
}  # fmt: skip
_NEWEST = 470
"""Calls from this number on were made after the list above: nobody has looked at them."""
_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_EQUAL, _AT_LEAST, _HAS_BITS = 0x15, 0x35, 0x45


Program = list[tuple[int, int, int, int]]
"""Instructions of classic BPF: code, jump if true, jump if false, constant."""


def _seccomp(watched: int) -> None:
    """Let these system calls fail from now on."""
    program = _program(watched)
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *one) for one in program))
    filters = struct.pack("@HP", len(program), ctypes.addressof(code))  # struct sock_fprog
    _check(_libc.prctl(22, 2, filters, 0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _program(watched: int) -> Program:
    """A line of tests, one for each system call; the first that applies decides."""
    machine = platform.machine()
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    column = list(_MACHINES).index(machine)
    program = [_load(4), (_EQUAL, 1, 0, _MACHINES[machine]), _give(_KILL), _load(0)]
    if machine == "x86_64":  # the calls of x32, another numbering
        program += [(_AT_LEAST, 0, 1, 0x40000000), _give(_KILL)]
    program += [(_AT_LEAST, 0, 1, _NEWEST), _give(_FAIL | errno.ENOSYS)]
    tests = {name: [_give(_FAIL | errno.EPERM)] for name in _DENIED} | _partly(watched)
    for name, test in tests.items():
        number = (_DENIED | _PARTLY)[name][column]
        if number is not None:
            program += [(_EQUAL, 0, len(test), number), *test]
    return [*program, _give(_ALLOW)]


def _partly(watched: int) -> dict[str, Program]:
    """Tests of the calls that some arguments allow."""
    own, is_thread, unknown = os.getpid(), 1 << 16, [_give(_FAIL | errno.ENOSYS)]
    # signals to another process when a file has something to read: F_SETOWN, F_SETSIG, F_SETOWN_EX
    owners = [8, 10, 15]
    return {
        # threads only; of clone3, whose flags cannot be seen, glibc falls back to clone
        "clone": [
            _load(16), (_HAS_BITS, 1, 0, is_thread), _give(_FAIL | errno.EPERM), _give(_ALLOW),
        ],
        "clone3": unknown,
        "close_range": unknown,
        "kill": _only(0, [own]),
        "tgkill": _only(0, [own]),
        "prlimit64": _only(0, [0, own]),
        "sched_setaffinity": _only(0, [0, own]),
        "close": _never((0, [watched])),
        "dup": _never((0, [watched])),  # by another number it could be silenced
        "dup2": _never((0, [watched]), (1, [watched])),
        "dup3": _never((0, [watched]), (1, [watched])),
        "fcntl": _never((0, [watched]), (1, owners)),
        # the same by other names, and typing into a terminal
        "ioctl": _never((1, [0x5412, 0x5452, 0x8901, 0x8902])),
        # PR_SET_PDEATHSIG, PR_SET_MM, PR_SET_PTRACER
        "prctl": _never((0, [1, 35, 0x59616D61])),
    }  # fmt: skip


def _load(offset: int) -> tuple[int, int, int, int]:
    """Look at a part of the call: 0 its number, 4 the machine, 16 + 8 i the low half of argument
    i."""
    return (0x20, 0, 0, offset)


def _give(answer: int) -> tuple[int, int, int, int]:
    return (0x06, 0, 0, answer)


def _only(argument: int, values: list[int]) -> Program:
    """Allowed when the argument is one of these."""
    allow = [step for value in values for step in ((_EQUAL, 0, 1, value), _give(_ALLOW))]
    return [_load(16 + 8 * argument), *allow, _give(_FAIL | errno.EPERM)]


def _never(*tests: tuple[int, list[int]]) -> Program:
    """Allowed unless an argument is one of those."""
    program: Program = []
    for argument, values in tests:
        program.append(_load(16 + 8 * argument))
        for value in values:
            program += [(_EQUAL, 0, 1, value), _give(_FAIL | errno.EPERM)]
    return [*program, _give(_ALLOW)]
