"""Logs by URL, read from a real S3 server that the tests run: the same results as from the disk."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmmon.errors import EXIT_INPUT, EXIT_USAGE
from tests.conftest import Ran, Run, clean_environment, llmmon_command

pytest.importorskip("s3fs", reason="needs the extra 'remote'")
pytest.importorskip("moto", reason="needs moto's S3 server")
SAMPLES = Path(__file__).parents[2] / "sample_logs"
TEXTS = str(SAMPLES / "prompts.jsonl")
SECRET = "s3cr3t-never-shown"


class Bucket:
    """An S3 bucket, and the environment in which it is found."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "AKIDNEVERSHOWN",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def put(self, key: str, content: bytes) -> None:
        """Store an object."""
        self._client.put_object(Bucket="logs", Key=key, Body=content)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """A bucket `logs` on a server of its own."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key=SECRET
    )
    client.create_bucket(Bucket="logs")
    found = Bucket(client, url)
    for path in SAMPLES.glob("2026-*.jsonl"):
        found.put(f"app/{path.name}", path.read_bytes())
    yield found
    client.close()
    server.stop()


def same(there: Ran, here: Ran, url: str, folder: str) -> bool:
    """Whether a result is that of the local files, but for their names."""
    return (there.code, there.stdout) == (here.code, here.stdout.replace(folder, url))


@pytest.mark.parametrize(
    "command",
    [("summarize", "-f", "json"), ("requests", "--window", "2h", "-f", "json"), ("anomalies", "-f", "json")],
    ids=" ".join,
)
def test_a_bucket_gives_what_the_disk_gives(command: tuple[str, ...], run: Run, bucket: Bucket) -> None:
    here = run(*command, f"{SAMPLES}/2026-*.jsonl", "-q")
    there = run(*command, "s3://logs/app/2026-*.jsonl", "-q", env=bucket.environment)
    assert there.stderr == ""
    assert same(there, here, "s3://logs/app", str(SAMPLES))


def test_a_prefix_is_a_folder(run: Run, bucket: Bucket) -> None:
    bucket.put("folder/sub/b.jsonl.1", b'{"model": "m", "latency_ms": 1}\n')
    bucket.put("folder/a.jsonl", b'{"model": "m", "latency_ms": 2}\n')
    bucket.put("folder/notes.txt", b"no log")
    done = run("summarize", "s3://logs/folder", "-f", "json", env=bucket.environment)
    assert done.json["source"]["files"] == ["s3://logs/folder/a.jsonl", "s3://logs/folder/sub/b.jsonl.1"]
    assert "skipped 1 file" in done.stderr


def test_compressed_logs_are_streamed(run: Run, bucket: Bucket) -> None:
    import zstandard

    content = (SAMPLES / "2026-03-03.jsonl").read_bytes()
    bucket.put("packed/a.jsonl.gz", gzip.compress(content))
    bucket.put("packed/b.jsonl.zst", zstandard.compress(content.replace(b"gpt-4o", b"gpt-4x")))
    bucket.put("packed/again.jsonl", content)
    done = run("summarize", "s3://logs/packed/", "-f", "json", env=bucket.environment)
    assert done.code == 0
    assert done.json["data"]["totals"]["request_count"] == 2 * content.count(b"\n")
    assert "s3://logs/packed/again.jsonl: read once" in done.stderr.replace("packed/a.jsonl.gz", "packed/again.jsonl")


@pytest.fixture(scope="module")
def big(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of four spans, also in the bucket as `big.jsonl`."""
    path = tmp_path_factory.mktemp("big") / "big.jsonl"
    with path.open("w") as file:
        for n in range(230_000):
            stamp = f"2026-03-{2 + n // 46_000:02d}T{n % 46_000 // 2000:02d}:{n % 2000 // 34:02d}:00Z"
            file.write(
                f'{{"model": "m{n % 3}", "timestamp": "{stamp}", "latency_ms": {n % 997}, "user": "{n:060d}"}}\n'
            )
    bucket.put("big.jsonl", path.read_bytes())
    return path


@pytest.mark.parametrize("more", [("--jobs", "3"), ("--window", "30")], ids=" ".join)
def test_byte_ranges_are_read_by_several_workers_and_by_bisection(
    more: tuple[str, ...], run: Run, bucket: Bucket, big: Path
) -> None:
    here = run("summarize", str(big), "-f", "json", "-q", *more)
    there = run("summarize", "s3://logs/big.jsonl", "-f", "json", "-q", *more, env=bucket.environment)
    assert same(there, here, "s3://logs/big.jsonl", str(big))
    read = there.json["source"]["bytes_read"]
    assert read == big.stat().st_size if more[0] == "--jobs" else read < big.stat().st_size / 10


def test_what_is_not_there_is_reported_beside_what_is(run: Run, bucket: Bucket) -> None:
    done = run(
        "summarize",
        "s3://nobucket/a.jsonl",
        "s3://logs/none/*.jsonl",
        str(SAMPLES / "2026-03-02.jsonl"),
        "-f",
        "json",
        env=bucket.environment,
    )
    assert done.code == EXIT_INPUT
    assert "s3://nobucket/a.jsonl: no such file or bucket" in done.stderr
    assert "s3://logs/none/*.jsonl: nothing matches" in done.stderr
    assert done.json["data"]["totals"]["request_count"] == 653


def test_a_server_that_cannot_be_reached_is_unreadable_input(run: Run, bucket: Bucket) -> None:
    elsewhere = {**bucket.environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = run("summarize", "s3://logs/app/", env=elsewhere)
    assert done.code == EXIT_INPUT
    assert "s3://logs/app/: cannot connect to the server" in done.stderr
    assert SECRET not in done.stderr
    assert "AKID" not in done.stderr


def test_a_log_that_is_followed_must_be_on_this_machine(run: Run, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "llmmon.toml").write_text('logs = ["s3://logs/app/2026-03-02.jsonl"]\n')
    done = run("check", env=bucket.environment)
    assert done.code == EXIT_INPUT
    assert "only logs on this machine can be followed" in done.stderr


def test_without_credentials_where_they_come_from_is_said(run: Run, bucket: Bucket) -> None:
    bare = {name: value for name, value in bucket.environment.items() if "KEY" not in name}
    done = run("summarize", "s3://logs/app/", TEXTS, env={**bare, "AWS_EC2_METADATA_DISABLED": "true"})
    assert done.code == EXIT_INPUT
    assert "s3://logs/app/: no credentials found, as in $AWS_PROFILE" in done.stderr
    assert "40 lines of 1 file" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("watch", "s3://logs/app/"), "only logs on this machine can be followed"),
        (("summarize", TEXTS, "-o", "s3://logs/x.json"), "output files must be local"),
        (("summarize", "s3://"), "s3:// names no bucket"),
    ],
)
def test_what_cannot_be_done_with_a_url_is_a_usage_error(command: tuple[str, ...], said: str, run: Run) -> None:
    done = run(*command)
    assert done.code == EXIT_USAGE
    assert said in done.stderr


@pytest.mark.parametrize("pattern", ["s3://logs/deep/**/*.jsonl", "s3://logs/deep/*/y/*.gz"])
def test_globs_are_those_of_paths(pattern: str, run: Run, bucket: Bucket) -> None:
    content = (SAMPLES / "2026-03-03.jsonl").read_bytes()
    bucket.put("deep/x/y/a.jsonl.gz", gzip.compress(content))
    bucket.put("deep/x/b.jsonl", content[: content.find(b"\n") + 1])
    done = run("summarize", pattern, "-f", "json", env=bucket.environment)
    expected = {"**/*.jsonl": 1, "*.gz": content.count(b"\n")}
    assert done.json["source"]["requests"] == next(n for end, n in expected.items() if pattern.endswith(end))


def test_the_environment_names_urls_beside_paths(run: Run, bucket: Bucket) -> None:
    named = f"{SAMPLES / '2026-03-03.jsonl'}:s3://logs/app/2026-03-02.jsonl"
    done = run("summarize", "-f", "json", env={**bucket.environment, "LLMMON_LOGS": named})
    assert len(done.json["source"]["files"]) == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://key:secret@logs/a.jsonl", "must not contain a user or password"),
        ("https://host/a.jsonl?X-Amz-Signature=secret", "a signed URL would show its signature"),
        ("nothing://host/a.jsonl", "not a supported storage"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_usage_error(url: str, said: str, run: Run) -> None:
    done = run("summarize", url)
    assert done.code == EXIT_USAGE
    assert said in done.stderr
    assert "secret" not in done.stderr


def test_without_the_extra_the_line_that_installs_it_is_shown(tmp_path: Path) -> None:
    (tmp_path / "fsspec.py").write_text("raise ImportError")
    done = subprocess.run(
        llmmon_command("summarize", "s3://logs/a.jsonl"),
        env=clean_environment(tmp_path, {"PYTHONPATH": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == EXIT_USAGE
    assert "pip install 'llmmon[remote]'" in done.stderr


def test_no_connection_is_made_unless_a_url_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"model": "m", "latency_ms": 1}) + "\n")
    (tmp_path / "fsspec.py").write_text("raise SystemExit('fsspec was loaded')")
    done = subprocess.run(
        llmmon_command("summarize", "a.jsonl"),
        cwd=tmp_path,
        env=clean_environment(tmp_path, {"PYTHONPATH": str(tmp_path)}),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
