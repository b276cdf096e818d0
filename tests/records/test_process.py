"""What metadata says of the process: without secrets, and with the right file system."""

from pathlib import Path

import pytest

from theodolite.records.process import facts, filesystem_type, is_network, redact

SECRET = "Zx81SpectrumQL"


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--token={SECRET}"], ["--token", SECRET], ["-token", SECRET], [f"--hf_token={SECRET}"],
        [f"--api-key={SECRET}"], ["--api_key", SECRET], [f"--apiKey={SECRET}"], [f"--OPENAI_API_KEY={SECRET}"],
        ["--password", SECRET], [f"--db.password={SECRET}"], [f"--passwd={SECRET}"], ["--secret-access-key", SECRET],
        [f"wandb.api_key={SECRET}"], [f"WANDB_API_KEY={SECRET}"], [f"+logger.token={SECRET}"],
        [f"--password={SECRET},{SECRET} {SECRET}"], [f"--auth={SECRET}"], ["--credentials", SECRET],
        [f"--header=Authorization: Bearer {SECRET}"], [f"Authorization: Basic {SECRET}"],
        [f"https://user:{SECRET}@host/path"], [f"--db=postgresql://me:{SECRET}@host:5432/runs"],
        [f"s3://{SECRET}@bucket/x"], [f"https://host/x?token={SECRET}&y=1"], [f"--url=https://host/?api_key={SECRET}"],
        [f'--config={{"api_key": "{SECRET}", "lr": 0.1}}'], [f"--set=secret:{SECRET}"], [f"--accesskey={SECRET}"],
        ["hf_" + SECRET * 2], ["sk-" + SECRET * 2], ["ghp_" + SECRET * 2], ["github_pat_" + SECRET * 2],
        ["AKIA" + "A1B2C3D4E5F6G7H8"], ["--login=glpat-" + SECRET * 2],
        ["eyJhbGciOiJIUzI1NiJ9." + SECRET * 2 + ".x"],
    ],
)  # fmt: skip
def test_secrets_are_hidden(arguments):
    safe = redact(["train.py", *arguments, "--lr=0.1"])
    text = " ".join(safe)
    assert SECRET not in text
    assert "A1B2C3D4E5F6G7H8" not in text
    assert "***" in text
    assert (len(safe), safe[0], safe[-1]) == (len(arguments) + 2, "train.py", "--lr=0.1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lr", "0.1"], ["--tokenizer", "gpt2"], ["--max_tokens=512"], ["--num-tokens", "10_000"], ["--tokens=1e9"],
        ["--author", "me"], ["--keyboard=qwerty"], ["--path=/data/secretary/x"], ["https://host/path?step=3"],
        ["--token", "--lr=0.1"], ["-1.5"], ["--n-keys=4"], ["git@host:repository"], ["--compass=north"],
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(arguments):
    assert redact(arguments) == arguments


def test_facts_name_the_process():
    assert facts()["cpus"] >= 1
    assert facts()["format"] == {"major": 1, "minor": 0}


@pytest.fixture
def mounts(tmp_path):
    file = tmp_path / "mounts"
    file.write_text(
        "/dev/sda / ext4 rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "tmpfs /home/me/fast tmpfs rw 0 0\n"
        "//nas/x /mnt/my\\040share cifs rw 0 0\n"
        "nonsense\n"
        "s3fs /bucket fuse.s3fs rw 0 0\n"
        "/dev/sdb /usb fuseblk rw 0 0\n"
        "lustre /bucket lustre rw 0 0\n"
    )
    return file


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/runs", "ext4"), ("/home/me/runs", "nfs4"), ("/home/me/fast/runs", "tmpfs"), ("/homely", "ext4"),
        ("/mnt/my share/runs", "cifs"), ("/usb/runs", "fuseblk"), ("/bucket/runs", "lustre"),
    ],
)  # fmt: skip
def test_the_deepest_and_latest_mount_counts(mounts, path, kind):
    assert filesystem_type(Path(path), mounts) == kind


def test_without_a_list_of_mounts_nothing_is_known(tmp_path):
    assert filesystem_type(tmp_path, tmp_path / "absent") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "lustre", "gpfs", "9p", "cifs", "smb3", "fuse.sshfs", "fuse", "ceph"])
def test_network_file_systems(kind):
    assert is_network(kind)
    assert is_network(kind.upper())


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", "apfs", ""])
def test_local_file_systems(kind):
    assert not is_network(kind)
