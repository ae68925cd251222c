"""The reader's protocol: published vectors, every way of cutting a stream, every text layout."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.card import CardKind
from drivers.errors import ReaderProtocolError
from drivers.sdt import reader, textblock
from drivers.sdt.commands import status_name
from drivers.sdt.frames import MAX_BUFFER, Frame, FrameDecoder, Garbage, encode_command, encode_reply
from drivers.sdt.samid import sam_id
from drivers.simulator import cards as deck

# Published byte for byte: "SAM communication protocol", and the commands of public drivers.
COMMANDS = [
    ((0x10, 0xFF), "AAAAAA9669000310FFEC"),
    ((0x11, 0xFF), "AAAAAA9669000311FFED"),
    ((0x12, 0xFF), "AAAAAA9669000312FFEE"),
    ((0x20, 0x01), "AAAAAA96690003200122"),
    ((0x20, 0x02), "AAAAAA96690003200221"),
    ((0x30, 0x01), "AAAAAA96690003300132"),
    ((0x30, 0x10), "AAAAAA96690003301023"),
    ((0x30, 0x03), "AAAAAA96690003300330"),
    ((0x30, 0x02), "AAAAAA96690003300231"),
    ((0x30, 0x05), "AAAAAA96690003300536"),
    ((0x60, 0x00), "AAAAAA96690003600063"),
    ((0x60, 0x01), "AAAAAA96690003600162"),
    ((0x60, 0x02), "AAAAAA96690003600261"),
    ((0x60, 0x03), "AAAAAA96690003600360"),
    ((0x60, 0x04), "AAAAAA96690003600467"),
]
REPLIES = [
    ("AAAAAA9669000400009094", 0x90, b""),
    ("AAAAAA9669000800009F0000000097", 0x9F, bytes(4)),
    ("AAAAAA9669000400008084", 0x80, b""),
    ("AAAAAA9669000C00009000000000000000009C", 0x90, bytes(8)),
    ("AAAAAA9669000400008185", 0x81, b""),
    ("AAAAAA9669000400004145", 0x41, b""),
    ("AAAAAA9669000400003236", 0x32, b""),
    ("AAAAAA9669000400009195", 0x91, b""),
    ("AAAAAA9669000400006064", 0x60, b""),
    ("AAAAAA9669000400001014", 0x10, b""),
    ("AAAAAA9669000400001115", 0x11, b""),
    ("AAAAAA9669000400002125", 0x21, b""),
    ("AAAAAA9669000400006662", 0x66, b""),
    (
        "AAAAAA9669001400009005000100 5B033301 5AB31E00 D2029649 12",
        0x90,
        bytes.fromhex("05000100 5B033301 5AB31E00 D2029649"),
    ),
    (
        "AAAAAA966900140000900500010009B8320105BE1200ADC5B11163",
        0x90,
        bytes.fromhex("0500010009B8320105BE1200ADC5B111"),
    ),
]


def frames_of(items: list[Frame | Garbage]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


@pytest.mark.parametrize(("command", "wire"), COMMANDS)
def test_commands_are_the_published_bytes(command: tuple[int, int], wire: str) -> None:
    assert encode_command(*command) == bytes.fromhex(wire)


@pytest.mark.parametrize(
    ("data", "wire"), [("50", "AAAAAA9669000461FF50CA"), ("58", "AAAAAA9669000461FF58C2")]
)
def test_a_command_with_data(data: str, wire: str) -> None:
    assert encode_command(0x61, 0xFF, bytes.fromhex(data)) == bytes.fromhex(wire)


#: How answers to 30 01 and 30 10 begin, and how long they are as a whole: fingers -> opener, bytes.
OPENERS = {
    None: ("AAAAAA9669 0508 000090 0100 0400", 1295),
    0: ("AAAAAA9669 050A 000090 0100 0400 0000", 1297),
    1: ("AAAAAA9669 070A 000090 0100 0400 0200", 1809),
    2: ("AAAAAA9669 090A 000090 0100 0400 0400", 2321),
}


@pytest.mark.parametrize("fingers", OPENERS)
def test_every_reading_is_as_long_as_published_and_fingerprints_are_dropped(fingers: int | None) -> None:
    opener, size = OPENERS[fingers]
    lengths = bytes.fromhex(opener)[10:]
    prints = b"C" * 512 * (fingers or 0)
    text, photo = bytes(range(256)), bytes(1024)
    wire = encode_reply(b"\0\0\x90", lengths + text + photo + prints)
    assert wire.startswith(bytes.fromhex(opener))
    assert len(wire) == size
    (frame,) = frames_of(FrameDecoder().feed(wire))
    assert reader.blocks(frame.data) == (text, photo)
    decoder = FrameDecoder()
    for byte in wire[:-1]:
        assert decoder.feed(bytes([byte])) == []
    assert decoder.feed(wire[-1:] + wire[:9]) == [frame]


@given(st.binary(max_size=2400))
def test_any_blocks_are_cut_by_their_lengths_or_refused(data: bytes) -> None:
    try:
        text, photo = reader.blocks(data)
    except ReaderProtocolError:
        return
    assert len(text) + len(photo) <= len(data) - 4
    assert text + photo in data


@pytest.mark.parametrize(("wire", "code", "data"), REPLIES)
def test_replies_whole_byte_by_byte_and_with_trailing_bytes(wire: str, code: int, data: bytes) -> None:
    raw = bytes.fromhex(wire)
    expected = Frame(bytes((0, 0, code)), data)
    assert FrameDecoder().feed(raw) == [expected]
    assert encode_reply(expected.status, data) == raw

    decoder = FrameDecoder()
    for byte in raw[:-1]:
        assert decoder.feed(bytes([byte])) == []
    assert decoder.feed(raw[-1:]) == [expected]

    decoder = FrameDecoder()
    assert decoder.feed(raw + raw[:6]) == [expected]
    assert decoder.feed(raw[6:]) == [expected]


@pytest.mark.parametrize("head", ["AAAA9669", "AA9669", "AAAAAAAA9669", "AA00AAAAAA9669"])
def test_a_lost_doubled_or_disturbed_preamble_byte_does_not_cost_the_frame(head: str) -> None:
    raw = bytes.fromhex(head) + bytes.fromhex(REPLIES[1][0])[5:]
    assert [frame.code for frame in frames_of(FrameDecoder().feed(raw))] == [0x9F]


def test_the_spoilt_reply_that_a_public_driver_kept_does_not_stop_the_next_one() -> None:
    spoilt = bytes.fromhex("AA00AAAA9669000C0000900000000000009C")
    decoder = FrameDecoder()
    items = decoder.feed(spoilt) + decoder.idle() + decoder.feed(bytes.fromhex(REPLIES[0][0]))
    assert [frame.code for frame in frames_of(items)] == [0x90]


def test_a_frame_hidden_behind_a_false_start_is_found_after_silence() -> None:
    false_start = bytes.fromhex("AAAAAA96690FFF")
    decoder = FrameDecoder()
    assert frames_of(decoder.feed(false_start + bytes.fromhex(REPLIES[0][0]))) == []
    assert [frame.code for frame in frames_of(decoder.idle())] == [0x90]
    assert decoder.pending == 0


def test_a_spoilt_frame_does_not_take_the_next_one_with_it() -> None:
    spoilt = bytes.fromhex("AAAAAA9669000400009095")
    items = FrameDecoder().feed(spoilt + bytes.fromhex(REPLIES[1][0]))
    assert [frame.code for frame in frames_of(items)] == [0x9F]


def test_a_wrong_checksum_and_an_impossible_length_say_so() -> None:
    wrong = bytes.fromhex("AAAAAA9669000400009095")
    assert {item.reason for item in FrameDecoder().feed(wrong) if isinstance(item, Garbage)} >= {"checksum"}
    huge = bytes.fromhex("AAAAAA9669FFFF00009095")
    assert {item.reason for item in FrameDecoder().feed(huge) if isinstance(item, Garbage)} >= {"length"}


replies = st.builds(Frame, st.binary(min_size=3, max_size=3), st.binary(max_size=1400))


@given(st.lists(replies, max_size=5), st.randoms(use_true_random=False))
def test_frames_cut_anywhere_come_back_and_nothing_stays(sent: list[Frame], rng: random.Random) -> None:
    stream = b"".join(encode_reply(frame.status, frame.data) for frame in sent)
    decoder, got = FrameDecoder(), []
    while stream:
        size = rng.choice([1, 2, 3, 7, 64, 1024])
        got += decoder.feed(stream[:size])
        stream = stream[size:]
    assert got == sent
    assert decoder.pending == 0


@given(st.lists(st.binary(max_size=6000), max_size=4))
def test_any_bytes_never_raise_and_never_overflow(lumps: list[bytes]) -> None:
    decoder, kept = FrameDecoder(), 0
    for lump in lumps:
        decoder.feed(lump)
        assert decoder.pending <= MAX_BUFFER
        kept += len(lump)
    decoder.idle()
    assert decoder.pending == 0


noise = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\xaa", b"\xaa\x96\x69", b"\x96", b"\x00\x04", b"\x0f"]), max_size=40).map(
        b"".join
    ),
)


@given(noise, replies)
def test_a_frame_after_noise_and_silence_is_delivered(before: bytes, frame: Frame) -> None:
    decoder = FrameDecoder()
    decoder.feed(before)
    decoder.idle()
    assert decoder.feed(encode_reply(frame.status, frame.data))[-1] == frame


#: What a mutated stream is made of: true frames, their pieces, and what looks like a beginning.
PIECES = [
    *(bytes.fromhex(wire) for wire, _, _ in REPLIES),
    encode_reply(b"\0\0\x90", bytes.fromhex("01000400") + bytes(1280)),
    bytes.fromhex("AAAAAA9669"),
    bytes.fromhex("AAAAAA96690FFF"),
    bytes.fromhex("AA9669FFFF"),
    b"\xaa" * 7,
]


def fuzz(seed: int, count: int) -> int:
    """Feed random and mutated streams to one decoder. Return how many frames came out."""
    rng, decoder, found = random.Random(seed), FrameDecoder(), 0
    for number in range(count):
        stream = bytearray(
            rng.choice(PIECES) + rng.choice(PIECES) if number % 4 else rng.randbytes(rng.randrange(60))
        )
        for _ in range(rng.randrange(4)):
            if not stream:
                break
            place = rng.randrange(len(stream))
            match rng.randrange(4):
                case 0:
                    stream[place] ^= 1 << rng.randrange(8)
                case 1:
                    del stream[place : place + rng.randrange(1, 20)]
                case 2:
                    stream[place:place] = rng.randbytes(rng.randrange(1, 20))
                case _:
                    stream[place:place] = stream[: rng.randrange(20)]
        cut = rng.randrange(len(stream) + 1)
        items = decoder.feed(bytes(stream[:cut])) + decoder.feed(bytes(stream[cut:]))
        assert decoder.pending <= MAX_BUFFER
        if number % 7 == 0:
            items += decoder.idle()
            assert decoder.pending == 0
            assert decoder.feed(PIECES[0])[-1:] == [Frame(b"\0\0\x90")]
        found += len(frames_of(items))
    return found


def test_mutated_streams_do_no_harm() -> None:
    assert fuzz(1, 5_000) > 500


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_million_mutated_streams_do_no_harm(seed: int) -> None:
    assert fuzz(seed, 250_000) > 25_000


def test_the_sam_id_is_printed_as_on_the_label() -> None:
    assert sam_id(bytes.fromhex("0500010009B8320105BE1200ADC5B111")) == "05.01-20101129-0001228293-0296863149"
    assert sam_id(bytes.fromhex("050001005B0333015AB31E00D2029649")) == "05.01-20120411-0002011994-1234567890"
    with pytest.raises(ReaderProtocolError):
        sam_id(b"short")


def test_a_status_the_standard_does_not_name_survives() -> None:
    assert status_name(0x41) == "read failed"
    assert status_name(0x77) == "status 0x77"
    assert Frame(b"\x00\x00\x77").code == 0x77


# --- text blocks ------------------------------------------------------------------------------------

RESIDENT = {
    "name": "韦·测试",
    "sex_code": "2",
    "nation_code": "08",
    "birth": "19491231",
    "address": "广西虚构市模拟路 1 号",
    "number": "11010519491231002X",
    "issuer": "虚构市公安局",
    "valid_from": "20200101",
    "valid_until": "长期",
}


def block(kind: CardKind, values: dict[str, str]) -> bytes:
    raw = bytearray(" ".encode("utf-16-le") * 128)
    for name, places in textblock.LAYOUTS[kind].items():
        text = values.get(name, "").encode("utf-16-le", "surrogatepass")
        for offset, size in places:
            part, text = text[:size], text[size:]
            raw[offset : offset + len(part)] = part
    if kind is not CardKind.RESIDENT:
        raw[248:250] = kind.value.encode("utf-16-le")
    return bytes(raw)


def test_a_resident_card() -> None:
    card = textblock.parse(block(CardKind.RESIDENT, RESIDENT), b"photo")
    assert {name: getattr(card, name) for name in RESIDENT} == RESIDENT
    assert card.flaws == ()
    assert card.photo_block == b"photo"
    assert "韦" not in repr(card)
    assert "1101" not in repr(card)


@pytest.mark.parametrize(
    ("field", "value", "flaw"),
    [
        ("birth", "19900231", ("birth", "impossible date")),
        ("valid_until", "2040010", ("valid_until", "impossible date")),
        ("number", "110105194912310021", ("number", "check digit")),
        ("number", "１１０１０５19491231002", ("number", "check digit")),
        ("address", "", ("address", "blank")),
        ("name", "", ("name", "blank")),
        ("name", "韦\ue863", ("name", "private-use character")),
        ("name", "韦㐂", ("name", "rare character")),
        ("name", "韦\U00020bb7", ("name", "rare character")),
        ("birth", "19491230", ("birth", "differs from number")),
        ("birth", "00000000", ("birth", "impossible date")),
        ("sex_code", "1", ("sex_code", "differs from number")),
        ("sex_code", "7", ("sex_code", "unknown code")),
        ("nation_code", "57", ("nation_code", "unknown code")),
        ("nation_code", "81", ("nation_code", "unknown code")),
        ("valid_from", "长期", ("valid_from", "impossible date")),
        ("name", "韦\ud800", ("name", "broken character")),
    ],
)
def test_what_breaks_a_rule_is_named_and_kept_as_read(field: str, value: str, flaw: tuple[str, str]) -> None:
    card = textblock.parse(block(CardKind.RESIDENT, RESIDENT | {field: value}))
    assert flaw in card.flaws
    assert getattr(card, field) == value


def test_the_letter_at_248_decides_and_an_unknown_one_is_not_guessed() -> None:
    for kind in textblock.LAYOUTS:
        assert textblock.kind_of(block(kind, {})) is kind
    unknown = bytearray(block(CardKind.RESIDENT, RESIDENT))
    unknown[248:250] = "Z".encode("utf-16-le")
    card = textblock.parse(bytes(unknown))
    assert card.kind is CardKind.UNKNOWN
    assert card.name == ""
    assert card.text_block == bytes(unknown)


@pytest.mark.parametrize("card", deck.generate(5, 12, "RJIY"), ids=lambda card: card.kind)
def test_the_chips_of_every_kind_say_what_was_written(card: deck.SimulatedCard) -> None:
    """The simulator lays its blocks out from the tables, without the driver's."""
    read = textblock.parse(card.text_block())
    assert read.kind.value == card.kind
    fields = set(textblock.LAYOUTS[read.kind]) - {"name"}
    assert {name: getattr(read, name) for name in fields} == {name: getattr(card, name) for name in fields}
    assert read.name == (card.name or card.latin_name)
    assert read.flaws == ()


@given(st.sampled_from(["I", "Y"]), st.integers(1, 60))
def test_names_up_to_sixty_characters_come_whole(kind: str, length: int) -> None:
    room = {"I": 60, "Y": 46}[kind]
    (made,) = deck.generate(1, 1, kind)
    name = ("LATIN, " + "NAME " * 12)[: min(length, room)].strip()
    card = textblock.parse(replace(made, name="", latin_name=name).text_block())
    assert card.latin_name == card.name == name


def test_a_foreigner_without_a_chinese_name_is_known_by_the_latin_one() -> None:
    latin = "TEST " + "A" * 41
    card = textblock.parse(
        block(CardKind.FOREIGNER_2023, {"latin_name": latin, "number": "932682198501010017"})
    )
    assert card.name == card.latin_name == latin
    assert card.nation_code == ""
    assert ("number", "check digit") not in card.flaws


texts = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFFFD, exclude_categories=["Cs", "Zs"]), max_size=15
)


@given(st.sampled_from(sorted(textblock.LAYOUTS, key=lambda kind: kind.value)), st.data())
def test_every_layout_encodes_and_decodes_to_the_same(kind: CardKind, data: st.DataObject) -> None:
    values = {}
    for name, places in textblock.LAYOUTS[kind].items():
        room = sum(size for _, size in places) // 2
        values[name] = data.draw(texts, label=name)[:room].strip(" \0\u3000")
    card = textblock.parse(block(kind, values))
    assert card.kind is kind
    for name, text in values.items():
        if name != "name" or text:
            assert getattr(card, name) == text


@given(st.binary(max_size=300))
def test_any_block_is_parsed_without_a_crash(raw: bytes) -> None:
    textblock.parse(raw)


@given(st.binary(min_size=248, max_size=248))
def test_any_resident_block_is_parsed_without_a_crash(raw: bytes) -> None:
    assert textblock.parse(raw + b" \0" * 4).kind is CardKind.RESIDENT
