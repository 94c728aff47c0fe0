"""`dvc[s3]`: let DVC pick the file system of an S3 remote, and let it sign an address, which needs no network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dvc_s3
from dvc.repo import Repo


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo = Repo.init(folder, no_scm=True)
        with repo.config.edit() as config:
            config["remote"]["store"] = {
                "url": "s3://bucket/path",
                "access_key_id": "key",
                "secret_access_key": "secret",
                "region": "us-east-1",
            }
        file_system = repo.cloud.get_remote_odb("store").fs
        assert isinstance(file_system, dvc_s3.S3FileSystem), file_system
        address = file_system.fs.sign("bucket/path/file")
        repo.close()
    assert "/bucket/path/file?" in address or "bucket.s3" in address, address
    print(f"dvc_s3 {Path(dvc_s3.__file__).parent.name}: signed an address of a bucket")


if __name__ == "__main__":
    main()
