"""The time code that the video itself carries: of H.264 and HEVC with every frame, of MPEG-2 with every group."""

import re
from fractions import Fraction

from av.video.frame import VideoFrame

_GROUP = re.compile(rb"\x00\x00\x01\xb8(.{4}).*?\x00\x00\x01\x00(..)", re.DOTALL)
_BY_GROUPS = ("mpeg1video", "mpeg2video")
_DROPS = (30, 60)  # frames a second of which numbers are left out


def time_code(codec: str, packet: bytes, first: VideoFrame, rate: Fraction | None) -> str:
    """The time code of the first frame as hh:mm:ss:ff, ";" where numbers are left out; "" for none that can be kept.

    packet: the first key frame. rate: frames a second.
    """
    # FFmpeg counts on from the group as frames are decoded, which is another order than that of display.
    code = _of_group(packet, first) if codec in _BY_GROUPS else first.metadata.get("timecode", "")
    match = re.fullmatch(r"\d\d:[0-5]\d:[0-5]\d([:;])(\d\d+)", code)
    if match is None or rate is None or int(match[2]) >= round(rate):
        return ""
    return "" if match[1] == ";" and round(rate) not in _DROPS else code


def _of_group(packet: bytes, first: VideoFrame) -> str:
    """Of the first group of pictures; "" for that of a film that counts from zero, as encoders do by themselves."""
    match = _GROUP.search(packet)
    if match is None:
        return ""
    told, number = int.from_bytes(match[1]), int.from_bytes(match[2]) >> 6
    drops, hours, minutes = told >> 31, told >> 26 & 31, told >> 20 & 63
    seconds, frames = told >> 13 & 63, told >> 7 & 63
    if not (hours or minutes or seconds or frames):
        return ""
    frames += number if first.key_frame else 0  # without those that are shown before it
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{';' if drops else ':'}{frames:02d}"
