# SPDX-License-Identifier: Apache-2.0
"""The OpenSSH client, with the user's own configuration and keys, and its errors in words.

Nothing is asked for at the terminal and no host key is ever accepted here. `EVIT_SSH` names another client or adds
options ("ssh -F file"), as GIT_SSH_COMMAND does for git.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from collections import deque
from types import TracebackType

from evit_deploy.engines.remote.protocol import Channel, ClosedError
from evit_deploy.errors import EvitError, UnavailableError, UsageError

Cancelled = threading.Event

# What a configuration may say for people at a terminal would break a program: another command, forwards that are taken
# by a second connection, a level of messages that hides why it failed.
_OPTIONS = {
    "BatchMode": "yes",
    "ClearAllForwardings": "yes",
    "ConnectTimeout": "15",
    "LogLevel": "INFO",
    "RemoteCommand": "none",
    "ServerAliveCountMax": "3",
    "ServerAliveInterval": "5",
}
_OWN_FAILURE = 255
_STDERR_LINES = 200
_ENDING = 30.0  # s


class LinkLostError(UnavailableError):
    """The link to a device broke; what was sent and what is being built there stays."""


def ssh_command(host: str, command: str) -> list[str]:
    """The command line that runs a shell command on a host.

    Args:
        host: "user@host", a name of the user's configuration, or "ssh://user@host:port".
        command: For the shell there.

    Raises:
        UsageError: Not a name of a host, or EVIT_SSH is no command.
    """
    if not host or host.startswith("-") or re.search(r"[\s\x00-\x1f]", host):
        raise UsageError(
            f"'{host}' is no host", expected="user@host, a name from your ssh configuration, or ssh://user@host:port"
        )
    wanted = os.environ.get("EVIT_SSH", "")
    try:
        program = shlex.split(wanted) or ["ssh"]
    except ValueError as error:
        raise UsageError("EVIT_SSH is no command", found=wanted, expected="such as: ssh -F file") from error
    options = [part for name, value in _OPTIONS.items() for part in ("-o", f"{name}={value}")]
    return [*program, "-T", *options, "--", host, command]


class Link:
    """A command running on a host, its standard input and output as a channel.

    Attributes:
        host: The host, as the user named it.
        channel: To and from the command.
    """

    def __init__(self, host: str, command: str) -> None:
        self.host = host
        arguments = ssh_command(host, command)
        try:
            # A session of its own: Ctrl-C at the terminal must reach this program, which then tells the far side.
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                bufsize=0, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise UnavailableError(
                "the OpenSSH client cannot be started",
                found=f"{arguments[0]}: {error.strerror}",
                fix="apt install openssh-client, or set EVIT_SSH to the client to use",
            ) from error
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self.channel = Channel(self._process.stdout.fileno(), self._process.stdin.fileno())
        self._lines: deque[str] = deque(maxlen=_STDERR_LINES)
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()

    def __enter__(self) -> Link:
        """Return the link itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the connection; what runs there sees its input end."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def end_input(self) -> None:
        """Tell the command that nothing more comes."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def stderr(self) -> str:
        """The last lines that came on standard error, the client's own among them."""
        return "\n".join(self._lines)

    def returncode(self) -> int:
        """Exit code of the command; 255 if the client itself failed. Waits for its end."""
        try:
            code = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(5)
        return code

    def failure(self) -> EvitError:
        """Why the channel closed, in words."""
        code = self.returncode()
        return explain(self.host, code, self.stderr())

    def output(self, cancelled: Cancelled | None = None) -> str:
        """All that the command prints to standard output, until its end.

        Raises:
            KeyboardInterrupt: `cancelled` was set.
        """
        while not (cancelled and cancelled.is_set()):
            try:
                self.channel.gather(0.1)
            except ClosedError:
                return self.channel.gathered().decode(errors="replace")
        raise KeyboardInterrupt

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        pending = b""
        while data := self._process.stderr.read(4096):
            *lines, pending = (pending + data).split(b"\n")
            self._lines.extend(line.decode(errors="replace").rstrip("\r") for line in lines)
        if pending:
            self._lines.append(pending.decode(errors="replace"))


def explain(host: str, code: int, stderr: str) -> EvitError:
    """Put the end of an SSH client into words.

    Args:
        host: The host, as the user named it.
        code: Its exit code: 255 is a failure of its own, another one is the command's.
        stderr: What it printed to standard error.
    """
    lines = [line for line in stderr.splitlines() if line.strip(" @")]
    if code != _OWN_FAILURE:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return LinkLostError(
            f"{host}: the far side ended in the middle",
            found="; ".join([how, *lines[-1:]]),
            fix="run the same command again: it goes on where it stopped",
        )
    for pattern, words, fix in _FAILURES:
        if re.search(pattern, stderr, flags=re.IGNORECASE | re.DOTALL):
            found = _fingerprint(stderr) if "changed" in words else _line(pattern, lines)
            kind = LinkLostError if fix is _AGAIN else UnavailableError
            return kind(f"{host}: {words}", found=found, fix=fix.format(host=host, known=_known_name(host, stderr)))
    return LinkLostError(f"{host}: the link was lost", found=lines[-1] if lines else None, fix=_AGAIN)


_AGAIN = "run the same command again: it goes on where it stopped"
_CHECK = "compare its fingerprint with the one that 'ssh-keygen -lf' gives on the device's own screen"
_FAILURES = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed: another machine answers under this name, or it was installed again",
        _CHECK + " for /etc/ssh/ssh_host_*_key.pub; only if they are equal: ssh-keygen -R '{known}', then ssh {host}",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        "its host key is not known to you, and none is accepted unseen",
        "connect once by hand with 'ssh {host}' and " + _CHECK,
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods",
        "it refuses your key",
        "ssh-copy-id {host}; a key with a passphrase must be in the agent: ssh-add",
    ),
    (
        r"Could not resolve hostname|Name or service not known|nodename nor servname",
        "there is no host of this name",
        "check the name, or give its address: user@192.168.1.20",
    ),
    (r"Connection refused", "no SSH server answers there", "is it running (systemctl status ssh), and on this port?"),
    (
        r"connect to .*(timed out|No route to host|Network is unreachable|Host is down)|during banner exchange",
        "it does not answer",
        "is it switched on and in this network? Try: ssh {host} true",
    ),
    (
        r"Bad configuration option|Bad owner or permissions|no argument after keyword|terminating, \d+ bad config",
        "your ssh configuration is refused",
        "correct it; 'ssh -G {host}' shows what the client reads",
    ),
    (
        r"kex_exchange_identification|Unable to negotiate|ssh_exchange_identification",
        "the SSH server there ended before anyone logged in",
        "is it an SSH server, and does it let you in? Try: ssh {host} true",
    ),
    (r"not responding|closed by remote host|Broken pipe|Connection reset|Connection to .* closed",
     "the link was lost", _AGAIN),
)  # fmt: skip


def _line(pattern: str, lines: list[str]) -> str | None:
    matching = [line for line in lines if re.search(pattern, line, flags=re.IGNORECASE)]
    return (matching or lines[-1:] or [""])[0].strip() or None


def _fingerprint(stderr: str) -> str | None:
    match = re.search(r"fingerprint for the (\S+) key.*?\s(SHA256:[A-Za-z0-9+/=]+)", stderr, flags=re.DOTALL)
    return f"{match[1]} key {match[2]}" if match else None


def _known_name(host: str, stderr: str) -> str:
    """The name under which the client keeps the host's key."""
    match = re.search(r"ssh-keygen .*-R [\"']?([^\"'\s]+)", stderr)
    return match[1] if match else host.rpartition("@")[2]
