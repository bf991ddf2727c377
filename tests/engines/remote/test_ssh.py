# SPDX-License-Identifier: Apache-2.0
"""The command line of the OpenSSH client, and what it prints, in words. What it prints was recorded with 9.2."""

from __future__ import annotations

import pytest

from evit_deploy.engines.remote.device import far_command
from evit_deploy.engines.remote.ssh import LinkLostError, explain, ssh_command
from evit_deploy.errors import UsageError

CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
The fingerprint for the ED25519 key sent by the remote host is
SHA256:WiA/rVfgKo9KaZ3Q0GsJ5Sa+quGITjccwF+D+HpMF7M.
Please contact your system administrator.
Offending ED25519 key in /root/.ssh/known_hosts:1
  remove with:
  ssh-keygen -f "/root/.ssh/known_hosts" -R "[orin.local]:2222"
Host key for [orin.local]:2222 has changed and you have requested strict checking.
Host key verification failed.
"""


def test_nothing_is_asked_and_the_users_configuration_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVIT_SSH", raising=False)
    command = ssh_command("nvidia@orin.local", "true")
    assert command[0] == "ssh"
    assert command[-3:] == ["--", "nvidia@orin.local", "true"]
    assert "BatchMode=yes" in command
    assert "-T" in command
    assert not [part for part in command if "HostKey" in part or "Identity" in part or part == "-F"]


@pytest.mark.parametrize(
    ("value", "begin"), [("", ["ssh"]), ("ssh -F 'my file'", ["ssh", "-F", "my file"]), ("/opt/ssh", ["/opt/ssh"])]
)
def test_another_client(value: str, begin: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIT_SSH", value)
    assert ssh_command("orin", "true")[: len(begin) + 1] == [*begin, "-T"]


def test_a_client_that_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIT_SSH", "ssh -F 'file")
    with pytest.raises(UsageError, match="EVIT_SSH is no command"):
        ssh_command("orin", "true")


def test_the_far_command_suits_every_shell() -> None:
    command = far_command("doctor", "--json")
    assert command.startswith("exec sh -c '")
    assert command.endswith("' sh doctor --json")
    assert command.count("'") == 2
    assert not set("\n!`") & set(command)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (CHANGED, "its host key has changed"),
        ("Host key verification failed.", "its host key is not known"),
        ("No ED25519 host key is known for orin and you have requested strict checking.", "its host key is not known"),
        ("nvidia@orin: Permission denied (publickey,password).", "it refuses your key"),
        ("Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures", "it refuses your key"),
        ("ssh: Could not resolve hostname orin: Name or service not known", "there is no host of this name"),
        ("ssh: connect to host orin port 22: Connection refused", "no SSH server answers there"),
        ("ssh: connect to host orin port 22: Connection timed out", "it does not answer"),
        ("ssh: connect to host orin port 22: No route to host", "it does not answer"),
        ("Connection timed out during banner exchange", "it does not answer"),
        ("c: line 3: Bad configuration option: foo\nc: terminating, 1 bad configuration options", "configuration"),
        ("Bad owner or permissions on /root/.ssh/config", "your ssh configuration is refused"),
        ("kex_exchange_identification: Connection closed by remote host", "the SSH server there ended"),
        ("Unable to negotiate with 1.2.3.4 port 22: no matching host key type found.", "the SSH server there ended"),
    ],
)
def test_who_cannot_be_reached(stderr: str, words: str) -> None:
    error = explain("orin", 255, stderr)
    assert error.what.startswith("orin: ")
    assert words in error.what
    assert not isinstance(error, LinkLostError)
    assert error.found
    assert error.fix
    assert "{" not in error.fix
    assert error.exit_code == 3


@pytest.mark.parametrize(
    ("code", "stderr"),
    [
        (255, "Timeout, server orin not responding."),
        (255, "Connection to orin closed by remote host."),
        (255, "client_loop: send disconnect: Broken pipe"),
        (255, "Read from remote host orin: Connection reset by peer"),
        (255, ""),
        (1, "Traceback: …"),
        (137, ""),
        (-9, ""),
    ],
)
def test_links_that_break(code: int, stderr: str) -> None:
    error = explain("orin", code, stderr)
    assert isinstance(error, LinkLostError)
    assert "run the same command again" in (error.fix or "")


def test_a_changed_key_is_explained() -> None:
    error = explain("nvidia@orin.local", 255, CHANGED)
    assert error.found == "ED25519 key SHA256:WiA/rVfgKo9KaZ3Q0GsJ5Sa+quGITjccwF+D+HpMF7M"
    assert "ssh-keygen -R '[orin.local]:2222'" in (error.fix or "")
