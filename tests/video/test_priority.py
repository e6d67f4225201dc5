"""A run leaves the machine to others: no thread of it is real-time, whatever an encoder wants."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from films import write_film

from vnlsdenoise.video.encoders import Encoding, choose
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.write import VideoWriter

_OPENED = """
import os, av
with av.open("raised.mkv", "w") as output:
    stream = output.add_stream("libsvtav1", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    stream.codec_context.open()
    print("policy", os.sched_getscheduler(0))
"""


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the system does not tell priorities")
def test_no_thread_stays_real_time_behind_an_encoder(tmp_path: Path) -> None:
    alone = subprocess.run([sys.executable, "-c", _OPENED], cwd=tmp_path, capture_output=True, text=True, check=True)
    if "policy 1" not in alone.stdout.splitlines():
        pytest.skip("this user may not raise priorities")
    write_film(tmp_path / "in.mkv", "libx264", count=3)
    reader = VideoReader(tmp_path / "in.mkv")
    choice = choose(tmp_path / "out.mkv", reader.info, Encoding(codec="av1"))
    with VideoWriter(tmp_path / "out.mkv", reader.info, choice) as writer:
        for frame in reader:
            writer.write(frame)
            assert {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")} == {os.SCHED_OTHER}
