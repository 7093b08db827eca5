"""A picture is shown to the model if its bytes are of a kind that every service takes."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from executor_core.agents import Assignment, with_usable_images
from executor_core.agents.scratch import MAX_BASE64
from executor_core.model import Image

PNG = b"\x89PNG\r\n\x1a\n...."
JPEG = b"\xff\xd8\xff\xe0...."


def given(folder: Path, *images: tuple[str, bytes]) -> Assignment:
    """An assignment with these pictures, each a label and its bytes."""
    encoded = tuple(
        Image(media_type=label, data=base64.b64encode(content).decode())
        for label, content in images
    )
    return Assignment(run_id="r", prompt="Look", folder=folder, scratch=folder, images=encoded)


@pytest.mark.parametrize(
    ("label", "content", "kind"),
    [
        ("image/png", PNG, "image/png"),
        ("image/png", JPEG, "image/jpeg"),
        ("application/octet-stream", b"GIF89a..", "image/gif"),
        ("image/jpg", b"RIFF\x00\x01\x02\nWEBPVP8 ", "image/webp"),
    ],
)
def test_the_bytes_say_what_a_picture_is(
    tmp_path: Path, label: str, content: bytes, kind: str
) -> None:
    fit, notices = with_usable_images(given(tmp_path, (label, content)))
    assert [image.media_type for image in fit.images] == [kind]
    assert (fit.prompt, notices) == ("Look", ())


@pytest.mark.parametrize(
    ("label", "content", "name"),
    [
        ("image/svg+xml", b"<svg/>", "picture-1.svg"),
        ("image/heic", b"\x00\x00\x00\x20ftypheic", "picture-1.heic"),
        ("image/png", b"<html>", "picture-1.png"),
        ("image/x-ms-bmp", b"BM....", "picture-1.ms"),
        ("../../etc", b"x", "picture-1.etc"),
        ("nonsense", b"x", "picture-1.bin"),
    ],
)
def test_what_no_service_takes_is_a_file_that_only_its_owner_may_read(
    tmp_path: Path, label: str, content: bytes, name: str
) -> None:
    fit, [notice] = with_usable_images(given(tmp_path, (label, content)))
    assert fit.images == ()
    assert f"picture 1: {tmp_path / name}" in fit.prompt
    assert (tmp_path / name).read_bytes() == content
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert name in notice.text


def test_a_picture_that_is_too_large_is_a_file(tmp_path: Path) -> None:
    fit, _ = with_usable_images(given(tmp_path, ("image/png", PNG + b"\0" * MAX_BASE64)))
    assert fit.images == ()
    assert "picture-1.png" in fit.prompt


def test_a_picture_that_is_no_base64_is_left_out_with_a_notice(tmp_path: Path) -> None:
    broken = Image(media_type="image/png", data="x")
    task = Assignment(
        run_id="r", prompt="Look", folder=tmp_path, scratch=tmp_path, images=(broken,)
    )
    fit, [notice] = with_usable_images(task)
    assert (fit.images, fit.prompt, notice.code) == ((), "Look", "image_unreadable")
