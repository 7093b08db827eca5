"""Line framing: any cut of the stream gives the same lines."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from executor_core.process.pipes import TAIL_BYTES, TAIL_LINES, LineAssembler, Tail


def assemble(chunks: list[bytes], max_line: int = 1000) -> tuple[list[bytes], int]:
    assembler = LineAssembler(max_line)
    lines = [line for chunk in chunks for line in assembler.feed(chunk)]
    return lines + assembler.finish(), assembler.skipped


@given(st.text(alphabet="a€\n字", max_size=60), st.lists(st.integers(1, 60), max_size=8))
def test_any_cut_of_the_stream_gives_the_same_lines(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges)]

    expected = text.split("\n")
    if expected[-1] == "":
        expected.pop()
    assert [line.decode() for line in assemble(chunks)[0]] == expected


@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_over_the_limit_are_counted_and_leave_an_empty_one_in_their_place(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    size = data.draw(st.integers(1, 20))
    chunks = [stream[i : i + size] for i in range(0, len(stream), size)]

    got, skipped = assemble(chunks, max_line=5)

    assert got == [line if len(line) <= 5 else b"" for line in lines]
    assert skipped == sum(len(line) > 5 for line in lines)


def test_a_last_line_without_newline_is_a_line() -> None:
    assert assemble([b"one\ntw", b"o"]) == ([b"one", b"two"], 0)


def test_an_unfinished_line_over_the_limit_is_counted_once() -> None:
    assert assemble([b"ok\n", b"x" * 600, b"x" * 600]) == ([b"ok", b""], 1)


def test_an_empty_stream_has_no_lines() -> None:
    assert assemble([]) == ([], 0)


def test_tail_keeps_the_end_within_its_bounds() -> None:
    tail = Tail()
    for number in range(100_000):
        tail.feed(b"line %d\n" % number)

    kept = tail.text.split("\n")
    assert len(kept) == TAIL_LINES
    assert kept[-1] == "line 99999"


def test_tail_of_one_endless_line_is_bounded_too() -> None:
    tail = Tail()
    tail.feed(b"x" * 10_000_000)
    assert len(tail.text) == TAIL_BYTES


def test_tail_shows_no_half_line_at_its_beginning() -> None:
    tail = Tail()
    tail.feed(("字" * 30_000 + "\nend\n").encode())
    assert tail.text == "end"


def test_tail_is_plain_text() -> None:
    tail = Tail()
    tail.feed(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07a\0b \xff\xfe \x1b]8;;http://x\x1b\\link")
    assert tail.text == "red ab \ufffd\ufffd link"
