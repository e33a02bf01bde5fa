"""Reward functions that try what reward code must not do. Each gives 1 where it got through, 0 or
an error where it was stopped. Their targets come as columns; see `sandbox_probe.py`."""

import ctypes
import fcntl
import mmap
import os
import random
import re
import socket
import subprocess
import threading


def read_files(completion: str, secret: str) -> float:
    """A file of the user's."""
    with open(secret) as file:
        return float(file.read() == "secret")


def list_folders(completion: str, folder: str) -> float:
    """What is there."""
    return float("secret" in os.listdir(folder))


def write_files(completion: str, folder: str) -> float:
    """Only make one: its size is limited anyway, the number of them is not."""
    os.close(os.open(os.path.join(folder, "written"), os.O_CREAT | os.O_WRONLY))
    return 1.0


def change_files(completion: str, secret: str) -> float:
    """Permissions, which say nothing to the rules about reading and writing."""
    os.chmod(secret, 0o640)
    return 1.0


def use_tcp(completion: str, port: int) -> float:
    """To a port of this machine, which shows the same as any."""
    with socket.create_connection(("127.0.0.1", port), 1):
        return 1.0


def use_udp(completion: str, port: int) -> float:
    """The same without a connection."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        return float(line.sendto(b"x", ("127.0.0.1", port)))


def use_local_sockets(completion: str, abstract: str) -> float:
    """An abstract one, which lies in no folder."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect("\0" + abstract)
        return 1.0


def read_the_parents_environment(completion: str, parent: int) -> float:
    """Tokens and keys stand there."""
    with open(f"/proc/{parent}/environ", "rb") as file:
        return float(len(file.read(1)))


def signal_processes(completion: str, parent: int) -> float:
    """Signal 0, which only asks whether one may."""
    os.kill(parent, 0)
    return 1.0


def signal_by_file(completion: str, parent: int) -> float:
    """The kernel sends it when a pipe has something to read."""
    fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, parent)
    return 1.0


def start_programs(completion: str) -> float:
    """Any."""
    return float(subprocess.run(["/bin/true"], check=False).returncode == 0)


def fork(completion: str) -> float:
    """A copy that runs on."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return 1.0


def outlive_the_trainer(completion: str) -> float:
    """Take back the wish to end with it."""
    return float(ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0)


def take_memory(completion: str) -> float:
    """More than the limit; nothing is written to it."""
    with mmap.mmap(-1, 3 << 30):
        return 1.0


def works(completion: str) -> float:
    """What every reward may do: the probe shows nothing where this fails."""
    thread = threading.Thread(target=random.random)
    thread.start()
    thread.join()
    os.kill(os.getpid(), 0)
    return float(re.fullmatch(r"\w+", completion) is not None)
