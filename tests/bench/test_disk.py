"""Which file system holds a folder, and that appended records are there; nothing here is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import disk
from bench.errors import BenchError

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/disk xfs rw 0 0
/dev/vdc /srv btrfs rw 0 0
tmpfs /srv tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "said"),
    [("/home/me", "ext4 on /dev/vda"), ("/tmp/disk/bench", "xfs on /dev/vdb"), ("/tmp/diskette", None), ("/srv", None)],
)
def test_the_file_system_of_a_folder(folder: str, said: str | None) -> None:
    if said:
        assert disk.file_system(Path(folder), MOUNTS) == said
    else:
        with pytest.raises(BenchError, match="TMPDIR"):
            disk.file_system(Path(folder), MOUNTS)


def test_every_append_is_a_whole_record(tmp_path: Path) -> None:
    done = disk.append(tmp_path / "file", b"record\n", 0.05)
    lines = (tmp_path / "file").read_bytes().splitlines()
    assert lines == [b"record"] * len(lines)
    assert lines
    assert done.p50_ms <= done.p99_ms
