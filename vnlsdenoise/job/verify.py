"""Read a written file back and compare it with what went in."""

from collections.abc import Sequence
from pathlib import Path

from av.container import InputContainer

from vnlsdenoise.errors import InputError, VerificationError
from vnlsdenoise.video.carry import Tally
from vnlsdenoise.video.container import is_still, main_video, open_input, packets_of
from vnlsdenoise.video.encoders import EncoderChoice
from vnlsdenoise.video.probe import VideoInfo, lost_colors, probe
from vnlsdenoise.video.write import Written

_VIDEO = 0  # the first stream of every file that is written here


def verify_file(path: Path, final: Path, source: VideoInfo, choice: EncoderChoice, written: Written) -> None:
    """Compare frame count, time stamps, size, tags and copied packets of `path`; raises VerificationError.

    Only the first frame is decoded. Time stamps may be rounded to the container's ticks and shifted by one constant,
    which containers without negative time stamps do to all streams alike.
    """
    try:
        found = probe(path, _VIDEO, whole=False)
        pts, copied, time_base = _read_back(path, written)
    except InputError as error:
        raise VerificationError(
            f"the file written for {final} does not open again; {error}; nothing was published"
        ) from error
    _check(final, "frames", len(written.pts), len(pts))
    shift = 0.0
    for index, (want, got) in enumerate(zip(written.pts, sorted(pts), strict=True)):
        seconds, read = float(want * written.time_base), got * time_base
        shift = read - seconds if index == 0 else shift
        if abs(read - seconds - shift) > time_base * 1.01:
            raise VerificationError(
                f"frame {index} of {final} stands at {read - shift:.6f} s, expected {seconds:.6f} s; "
                "nothing was published; try another container"
            )
    shape, back = source.format, found.format
    _check(final, "size", f"{shape.width}x{shape.height}", f"{back.width}x{back.height}")
    # Some decoders (ProRes 4444) give more bits than were written.
    _check(final, "depth", True, back.depth >= choice.layout.depth)
    for what, want, got in lost_colors(choice.color, found.color, choice.layout.family, back.family):
        _check(final, what, want, got)
    _check(final, "rotation", source.rotation if choice.display_matrix else 0, found.rotation)
    # Elementary streams out of broadcast containers are legitimately repacked by the muxer.
    if "mpeg" not in source.container:
        for tally in written.copied.values():
            if tally.packets:
                _check(final, f"content of stream {tally.index}", tally.count, copied[tally.index].count)
                _check(final, f"checksum of stream {tally.index}", f"{tally.crc:08x}", f"{copied[tally.index].crc:08x}")


def _read_back(path: Path, written: Written) -> tuple[list[int], dict[int, Tally], float]:
    # Edit lists are rounded to milliseconds, which may hide the last packet of a stream that is all there.
    with open_input(path, whole=True) as container:
        video = main_video(container, path, _VIDEO)
        sent = sorted(written.copied.values(), key=lambda tally: tally.index)
        tallies = {place: Tally(tally.codec) for place, tally in zip(_places(container, sent), sent, strict=True)}
        pts: list[int] = []
        for packet in packets_of(container):
            if not packet.size:
                continue
            if packet.stream_index == video.index:
                if packet.pts is not None:
                    pts.append(packet.pts)
            elif packet.stream_index in tallies:
                tallies[packet.stream_index].add(packet)
        by_index = {tally.index: found for tally, found in zip(sent, tallies.values(), strict=True)}
        return pts, by_index, float(video.time_base or 1)


def _places(container: InputContainer, sent: Sequence[Tally]) -> list[int]:
    """Where the streams are found that were written: covers of MP4 stand behind all of its tracks."""
    covers = [stream.index for stream in container.streams if is_still(stream)]
    if len(covers) != sum(tally.cover for tally in sent):
        return [tally.index for tally in sent]
    places, before = [], 0
    for tally in sent:
        places.append(covers[before] if tally.cover else tally.index - before)
        before += tally.cover
    return places


def _check(final: Path, what: str, want: object, got: object) -> None:
    if want != got:
        raise VerificationError(
            f"{what} of {final}: {got}, expected {want}; nothing was published; try another codec or container"
        )
