"""Hosts as namespaces of this machine: own processes, network, name, home and /tmp.

`ray stop` ends all Ray processes that it can see, so each host must see its own alone.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import psutil

from tests.support.processes import wait_for
from tests.support.project import ROOT

NET = "10.78.0."
PROGRAMS = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync")

# Run as the host's first process. What lies under /tmp and is needed stays visible there.
_BOOT = """
set -e
hostname "$1"
mount --bind "$2/passwd" /etc/passwd
mount --bind "$2/../hosts" /etc/hosts
mount --bind /tmp /mnt
mount -t tmpfs -o mode=1777 tmpfs /tmp
for path in "${@:4}"; do
  case $path in /tmp/*) mkdir -p "$path"; mount --bind "/mnt/${path#/tmp/}" "$path" ;; esac
done
umount /mnt
mount -t tmpfs tmpfs /run
mkdir /run/sshd
if [ "$3" = sshd ]; then
  /usr/sbin/sshd -D -e -f "$2/sshd_config" &
fi
touch "$2/booted"
sleep infinity & wait $!  # a shell reaps orphans
"""


def why_not() -> str | None:
    """The reason why there can be no hosts here; None where there can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"{', '.join(missing)} of openssh, rsync, iproute2 and util-linux not installed"
    tried = subprocess.run(
        ["unshare", "--mount", "--uts", "--pid", "--net", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
    )
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


class Hosts:
    """A context with hosts on one network; the first has no sshd and is where a person sits."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self.key = folder / "key"
        """The private key that opens all of them."""
        self._tag = uuid.uuid4().hex[:6]
        self._switch = f"sagan-{self._tag}"
        self._names = names
        self._first: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Hosts":
        (self.folder / "hosts").write_text(
            "127.0.0.1 localhost\n"
            + "".join(f"{self.address(name)} {name}\n" for name in self._names)
        )
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        _do("ip", "netns", "add", self._switch)
        _do("ip", "-n", self._switch, "link", "add", "switch", "type", "bridge")
        _do("ip", "-n", self._switch, "link", "set", "switch", "up")
        for name in self._names:
            self._boot(name)
        for name in self._names:
            wait_for(lambda name=name: (self.folder / name / "booted").exists())
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._first.values():
            for child in psutil.Process(process.pid).children():
                child.send_signal(signal.SIGKILL)  # and with it all of its PID namespace
            process.wait()
        for name in [*self._names, None]:
            subprocess.run(["ip", "netns", "delete", self._netns(name)], check=False)

    def address(self, name: str) -> str:
        """The host's address, IPv4."""
        return f"{NET}{self._names.index(name) + 1}"

    def home(self, name: str) -> Path:
        """The home folder of the host's only user, root."""
        return self.folder / name / "home"

    def run(self, name: str, *command: str, timeout_s: float = 120) -> tuple[int, str]:
        """(exit code, output) of a command on the host, in the checkout; -9 when it took longer."""
        first = psutil.Process(self._first[name].pid).children()[0]
        # A file, not a pipe: ssh's shared connections stay behind and would keep that open.
        with tempfile.TemporaryFile("w+", dir=self.folder) as output:
            process = subprocess.Popen(
                [
                    *("nsenter", "-m", "-u", "-p", "-n", "-t", str(first.pid)),
                    *("bash", "-c", 'cd "$0" && exec "$@"', str(ROOT), *command),
                ],
                env={
                    "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME": str(self.home(name)),
                    "TERM": "dumb",
                    "LC_ALL": "C.UTF-8",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                code = -signal.SIGKILL
                process.wait()
            output.seek(0)
            return code, output.read()

    def _netns(self, name: str | None) -> str:
        return self._switch if name is None else f"{self._switch}-{self._names.index(name)}"

    def _boot(self, name: str) -> None:
        folder, netns = self.folder / name, self._netns(name)
        self.home(name).mkdir(parents=True)
        (folder / "passwd").write_text(
            f"root:*:0:0:root:{self.home(name)}:/bin/bash\n"
            f"sshd:*:105:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key"))
        (folder / "sshd_config").write_text(
            f"ListenAddress {self.address(name)}\nHostKey {folder / 'host_key'}\n"
            f"AuthorizedKeysFile {self.key}.pub\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nStrictModes no\nUsePAM no\nPidFile none\nLogLevel ERROR\n"
        )
        self._connect(name, netns)
        role = "person" if name == self._names[0] else "sshd"
        kept = [str(self.folder), str(ROOT), sys.prefix, sys.base_prefix]
        with open(folder / "log", "w") as log:
            self._first[name] = subprocess.Popen(
                [
                    *("ip", "netns", "exec", netns, "unshare", "--mount", "--uts", "--pid"),
                    *("--fork", "--kill-child", "--mount-proc", "bash", "-c", _BOOT, "boot"),
                    *(name, str(folder), role, *kept),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )

    def _connect(self, name: str, netns: str) -> None:
        port, cable = f"port{self._names.index(name)}", f"sg{self._tag}"
        _do("ip", "netns", "add", netns)
        _do("ip", "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", cable)
        _do("ip", "-n", self._switch, "link", "set", cable, "netns", netns)
        _do("ip", "-n", self._switch, "link", "set", port, "master", "switch", "up")
        _do("ip", "-n", netns, "link", "set", "lo", "up")
        _do("ip", "-n", netns, "addr", "add", f"{self.address(name)}/24", "dev", cable)
        _do("ip", "-n", netns, "link", "set", cable, "up")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
