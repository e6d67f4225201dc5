"""What becomes of everything beside the samples of the video: kept, converted, or left out, decided before the work."""

import io
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from vnlsdenoise.video.container import (
    codec_of,
    dumped,
    is_still,
    is_unknown,
    kind_of,
    main_video,
    name_of,
    open_input,
    packets_of,
)
from vnlsdenoise.video.subtitles import TEXT, form_of
from vnlsdenoise.video.timeline import PacketOrder

How = Literal["kept", "converted", "left out"]
# The muxer writes these itself from the tags it is given.
_REWRITTEN_TAGS = {
    "alpha_mode",
    "duration",
    "encoder",
    "_statistics_tags",
    "_statistics_writing_app",
    "_statistics_writing_date_utc",
}
_REWRITTEN_CONTAINER_TAGS = {"encoder", "software", "major_brand", "minor_version", "compatible_brands"}
# What MXF says of the program that wrote it and of the file itself, which the new one is not.
_OF_THE_FILE = {
    "application_platform",
    "company_name",
    "generation_uid",
    "material_package_umid",
    "operational_pattern_ul",
    "product_name",
    "product_uid",
    "product_version",
    "product_version_num",
    "toolkit_version_num",
    "uid",
}
_ISO = ("mp4", "mov")
_MATROSKA = ("matroska", "webm")
_TRIED_PACKETS, _TRIED_BYTES, _READ_BYTES = 12, 1 << 20, 16 << 20
# Of the two codes that ISO 639-2 has for some languages FFmpeg knows but one in QuickTime, and drops the other; that of
# Swedish it spells in its own way.
_QUICKTIME_LANGUAGES = {
    "sqi": "alb",
    "hye": "arm",
    "eus": "baq",
    "mya": "bur",
    "zho": "chi",
    "nld": "dut",
    "kat": "geo",
    "deu": "ger",
    "ell": "gre",
    "isl": "ice",
    "mkd": "mac",
    "msa": "may",
    "fas": "per",
    "bod": "tib",
    "cym": "wel",
    "cze": "ces",
    "fre": "fra",
    "rum": "ron",
    "slo": "slk",
    "swe": "sve",
}
# What a stream is, rather than what it is for, and what some containers say of the first one anyway.
_USUAL_MARKS = (
    Disposition.default,
    Disposition.attached_pic,
    Disposition.timed_thumbnails,
    Disposition.still_image,
    Disposition.dependent,
)
_SHORT_TEXT = {"mov_text": b"\0\1x"}
_COVER_TYPES = {"mjpeg": ("image/jpeg", "jpg"), "png": ("image/png", "png"), "gif": ("image/gif", "gif")}


@dataclass(frozen=True)
class Fate:
    """What becomes of one thing of the input. why: a sentence for the user where it is not kept."""

    what: str
    how: How
    why: str = ""


@dataclass(frozen=True)
class StreamFate(Fate):
    """What becomes of one stream. by: how it is written; picture: the bytes of a cover that becomes an attachment."""

    index: int = 0
    by: Literal["copy", "text", "attachment", "muxer", "none"] = "none"
    picture: bytes = b""


@dataclass(frozen=True)
class Carry:
    """The whole decision: of every stream but the denoised one, and of the tags of the file.

    options: of the muxer, which the tags need.
    """

    streams: tuple[StreamFate, ...] = ()
    properties: tuple[Fate, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    @property
    def changed(self) -> tuple[Fate, ...]:
        """Everything that is not kept."""
        return tuple(fate for fate in (*self.properties, *self.streams) if fate.how != "kept")


def decide(path: Path, index: int, container: str, leave_out: str = "") -> Carry:
    """Decide for every stream of `path` but video stream `index`, and for the tags of the file; writes to memory only.

    container: FFmpeg's name of the output's. leave_out: why all of them are left out, "" where they need not be.
    """
    with open_input(path) as source:
        main = main_video(source, path, index)
        others = [stream for stream in source.streams if stream.index != main.index]
        if leave_out:
            return Carry(tuple(_out(stream, leave_out) for stream in others))
        samples = _first_packets(source, others)
        words = dumped(source)
        streams = tuple(
            _decide(stream, source, container, samples.get(stream.index, []), words.get(stream.index, []))
            for stream in others
        )
        options = tuple(container_options(source, container, streams).items())
        marks = [_marks(f, source.streams[f.index], container, samples.get(f.index, [])) for f in streams]
        tags = _tags(source, container, dict(options))
        return Carry(streams, (*tags, *(fate for fate in marks if fate is not None)), options)


def _decide(
    stream: Stream, source: InputContainer, container: str, samples: "list[Packet[Stream]]", words: Sequence[str]
) -> StreamFate:
    if stream.type == "attachment":
        return _kept(stream, "copy") if container == "matroska" else _out(stream, f"{container} has no attachments")
    if stream.type == "data":
        return _decide_data(stream, source, container, samples, words)
    if is_still(stream):
        return _decide_cover(stream, container, samples)
    if is_unknown(stream):
        return _out(stream, "nothing of it was found at the beginning of the file that tells of what kind it is")
    trouble = try_copy(stream, container, samples)
    if trouble is None:
        return _kept(stream, "copy")
    form = form_of(container)
    if stream.type == "subtitle" and stream.codec_context is not None and codec_of(stream) in TEXT and form:
        why = f"{_name(stream)} is converted to {form}, the text that {container} holds"
        return StreamFate(_name(stream), "converted", why, stream.index, "text")
    return _out(stream, trouble)


def _decide_data(
    stream: Stream, source: InputContainer, container: str, samples: "list[Packet[Stream]]", words: Sequence[str]
) -> StreamFate:
    if "timecode" in stream.metadata and container in (*_ISO, *_MATROSKA):
        return _kept(stream, "muxer")  # It becomes a track of its own anew, or a tag.
    is_text = bool(words) and ("(text /" in words[0] or "bin_data" in words[0])
    if is_text and source.chapters() and "mov" in source.format.name:
        return _kept(stream, "muxer")  # The titles of the chapters, which are written anew.
    trouble = try_copy(stream, container, samples)
    return _kept(stream, "copy") if trouble is None else _out(stream, trouble)


def _decide_cover(stream: Stream, container: str, samples: "list[Packet[Stream]]") -> StreamFate:
    if container == "matroska" and samples and codec_of(stream) in _COVER_TYPES:
        return StreamFate(_name(stream), "kept", "", stream.index, "attachment", bytes(samples[0]))
    trouble = try_copy(stream, container, samples)
    return _kept(stream, "copy") if trouble is None else _out(stream, trouble)


def cover_name(stream: Stream) -> tuple[str, str]:
    """(file name, MIME type) of a cover picture as an attachment."""
    kind, ending = _COVER_TYPES[codec_of(stream)]
    return stream.metadata.get("filename", f"cover.{ending}"), stream.metadata.get("mimetype", kind)


def _kept(stream: Stream, by: Literal["copy", "muxer"]) -> StreamFate:
    return StreamFate(_name(stream), "kept", "", stream.index, by)


def _marks(fate: StreamFate, stream: Stream, container: str, samples: "list[Packet[Stream]]") -> Fate | None:
    """What of the marks of a stream (forced, comment, ...) is lost, found out by writing them to memory."""
    marked = [mark for mark in Disposition if mark & stream.disposition and mark not in _USUAL_MARKS]
    if not marked or fate.by not in ("copy", "text") or stream.type == "attachment":
        return None
    memory = io.BytesIO()
    with suppress(av.FFmpegError, ValueError):
        with av.open(memory, "w", format=container) as trial:
            packets = []
            if fate.by == "copy":
                target, packets = add_copy(trial, stream), [_copied(one) for one in samples]
            else:
                form = form_of(container)
                assert form is not None
                target = trial.add_mux_stream(form)
                target.disposition = stream.disposition
            if not packets:  # Of text that is yet to be converted, and of streams that say nothing near the beginning.
                packets = [av.Packet(_SHORT_TEXT.get(codec_of(target), b"x"))]
                packets[0].pts = packets[0].dts = 0
            _mux(trial, target, stream, packets)
        with av.open(io.BytesIO(memory.getvalue())) as back:
            kept = back.streams[0].disposition if len(back.streams) else Disposition(0)
            if kept & Disposition.hearing_impaired:
                kept |= Disposition.captions  # which MP4 calls the same
            marked = [mark for mark in marked if not mark & kept]
    if not marked:
        return None
    names = ", ".join(str(mark.name).replace("_", " ") for mark in marked)
    why = f"{container} does not mark {_name(stream)} as {names}: that is left out"
    return Fate(f"marks of stream {stream.index}", "left out", why)


def _out(stream: Stream, why: str) -> StreamFate:
    return StreamFate(_name(stream), "left out", f"{_name(stream)} is left out: {why}", stream.index)


def _name(stream: Stream) -> str:
    return f"{kind_of(stream)} stream {stream.index} ({name_of(stream) or 'unknown codec'})"


def _first_packets(source: InputContainer, streams: list[Stream]) -> "dict[int, list[Packet[Stream]]]":
    """The first packets of every stream, as far as they stand near the beginning."""
    found: dict[int, list[Packet[Stream]]] = {stream.index: [] for stream in streams if stream.type != "attachment"}
    sizes = dict.fromkeys(found, 0)
    read = 0
    with suppress(av.FFmpegError, OSError):
        for packet in packets_of(source):
            read += packet.size
            index = packet.stream_index
            enough = len(found.get(index, ())) >= _TRIED_PACKETS or sizes.get(index, 0) > _TRIED_BYTES
            if packet.size and index in found and not enough:
                found[index].append(packet)
                sizes[index] += packet.size
            if read > _READ_BYTES:
                break
    return found


def try_copy(stream: Stream, container: str, samples: "Sequence[Packet[Stream]]") -> str | None:
    """Why a container does not take a stream and its first packets as they are, None where it does.

    Found out by writing them to memory and reading them back.
    """
    memory = io.BytesIO()
    sent = Tally(codec_of(stream))
    for packet in samples:
        sent.add(packet)
    try:
        with av.open(memory, "w", format=container) as trial:
            _mux(trial, add_copy(trial, stream), stream, [_copied(packet) for packet in samples])
        if not samples:
            return None
        with av.open(io.BytesIO(memory.getvalue()), "r", container_options={"advanced_editlist": "0"}) as back:
            got = Tally(codec_of(stream))
            # Data without a name of its kind is not kept, though its bytes are there.
            known = stream.type != "data" or [found.name for found in back.streams] == [stream.name]
            for packet in back.demux():
                if packet.size:
                    got.add(packet)
            is_whole = all(_opens(found) for found in back.streams.audio) or not _opens(stream)
    except (av.FFmpegError, ValueError) as error:
        return f"{container} does not take it ({getattr(error, 'strerror', None) or error})"
    if not is_whole:
        return f"{container} does not keep what its decoder needs"
    # Some muxers repack what they are given, so the number of packets is not compared here.
    is_back = known and got.packets and 2 * got.bytes > sent.bytes
    return None if is_back else f"{container} does not give it back"


def _mux(trial: OutputContainer, target: Stream, source: Stream, packets: "Sequence[Packet[Stream]]") -> None:
    """Write packets of `source`, which are changed by it, as all there is of a trial."""
    order = PacketOrder(source, trial.format)
    trial.start_encoding()
    refused: list[av.InvalidDataError] = []
    for packet in packets:
        order.put(packet)
        packet.stream = target
        try:
            trial.mux_one(packet)
        except av.InvalidDataError as error:
            refused.append(error)
    # A few that are damaged are left out of the stream, not the stream.
    if 2 * len(refused) > len(packets):
        raise refused[0]


def _opens(stream: Stream) -> bool:
    """Whether there is all that the decoder of a stream needs to begin."""
    try:
        stream.codec_context.open(strict=False)
    except (av.FFmpegError, AttributeError):
        return False
    return True


def add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """A stream of `output` for the packets of `stream` as they are; the container may still refuse its header."""
    try:
        target = output.add_stream_from_template(stream, opaque=True if stream.codec_context else None)
    except ValueError:
        if stream.codec_context is None:
            raise
        # PyAV asks for codecs that are usual in the container. FFmpeg itself takes more; the parameters go by way of a
        # filter that changes nothing, and of a format that takes all and so sets the tag of the other container back.
        with av.open(io.BytesIO(), "w", format="null") as scratch:
            plain = scratch.add_stream_from_template(stream, opaque=True)
            target = output.add_data_stream()
            BitStreamFilterContext("null", plain, target)
        target.time_base = stream.time_base
    copy_tags(stream, target)
    return target


def _copied(packet: "Packet[Stream]") -> "Packet[Stream]":
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
    return copy


def copy_tags(source: Stream, target: Stream) -> None:
    """Language, title and so on, and what the stream is for."""
    tags = {key: value for key, value in source.metadata.items() if key.lower().split("-")[0] not in _REWRITTEN_TAGS}
    if "mov" in source.container.format.name and "name" in tags:
        tags.setdefault("title", tags.pop("name"))  # FFmpeg reads the title that it wrote itself under another name.
    if target.container.format.name == "mov" and "language" in tags:
        tags["language"] = _QUICKTIME_LANGUAGES.get(tags["language"], tags["language"])
    target.metadata.update(tags)
    target.disposition = source.disposition


def container_tags(source: InputContainer) -> dict[str, str]:
    """The tags of a file that another one takes over."""
    rewritten = _REWRITTEN_CONTAINER_TAGS | (_OF_THE_FILE if "mxf" in source.format.name else set())
    return {key: value for key, value in source.metadata.items() if key.lower() not in rewritten}


def container_options(source: InputContainer, container: str, streams: Sequence[StreamFate]) -> dict[str, str]:
    """Options of the muxer that the tags of `source` need."""
    # As keys of QuickTime any tag can be kept, but a cover cannot stand beside them.
    covers = any(fate.by == "copy" and is_still(source.streams[fate.index]) for fate in streams)
    if container in _ISO and not covers and any("." in key for key in source.metadata):
        return {"movflags": "use_metadata_tags"}
    return {}


def _tags(source: InputContainer, container: str, options: dict[str, str]) -> list[Fate]:
    """Which tags of the file the container does not take, found out by writing them to memory."""
    tags = container_tags(source)
    if not tags:
        return []
    memory = io.BytesIO()
    try:
        with av.open(memory, "w", format=container, container_options=options) as trial:
            video = trial.add_stream("libvpx-vp9" if container == "webm" else "mpeg4", rate=25)
            video.width = video.height = 16
            trial.metadata.update(tags)
            trial.mux(video.encode(av.VideoFrame(16, 16, "yuv420p")))
            trial.mux(video.encode(None))
        with av.open(io.BytesIO(memory.getvalue()), metadata_errors="replace") as back:
            kept = {key.lower() for key in back.metadata}
    except (av.FFmpegError, ValueError, UnicodeError):
        return []
    # MP4 and MOV make a track of the time code.
    written = {"timecode"} if container in _ISO else set()
    lost = sorted(key for key in tags if key.lower() not in kept | written)
    if not lost:
        return []
    return [Fate("tags", "left out", f"{container} has no place for the tag(s) {', '.join(lost)}: left out")]


class Tally:
    """Counts the packets of one stream and the bytes in them, to compare what was sent with what is there.

    PCM may be cut into other packets, and muxers of timed text add samples that show nothing. cover: whether it is a
    cover picture, of which MP4 makes no track.
    """

    def __init__(self, codec: str, index: int = -1, cover: bool = False) -> None:
        self.codec, self.index, self.cover = codec, index, cover
        self.packets = self.crc = self.bytes = 0

    def add(self, packet: "Packet[Stream]") -> None:
        """Count one packet."""
        if self.codec == "mov_text" and bytes(packet) == b"\0\0":
            return
        self.packets += 1
        self.bytes += packet.size
        self.crc = zlib.crc32(packet, self.crc)

    @property
    def count(self) -> str:
        """How much there is, in words that can be compared."""
        return f"{self.bytes} bytes" if self.codec.startswith("pcm_") else f"{self.packets} packets"
