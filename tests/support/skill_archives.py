"""Skills as servers send them: ZIP archives, good ones and bad ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

SKILL_MD = """---
name: {name}
description: {description}
---

{body}
"""


def skill_md(name: str, description: str = "A skill of the tests.", body: str = "Do it.") -> str:
    """The text of a SKILL.md."""
    return SKILL_MD.format(name=name, description=description, body=body)


def skill_zip(name: str, description: str = "A skill of the tests.", body: str = "Do it.") -> bytes:
    """A good skill: one folder with a SKILL.md and a script beside it."""
    return zip_of(
        {
            f"{name}/SKILL.md": skill_md(name, description, body),
            f"{name}/scripts/run.sh": "#!/bin/sh\necho skill\n",
        }
    )


def zip_of(files: Mapping[str, str | bytes], *, mode: int = 0) -> bytes:
    """An archive of these files, in order; `mode` is the Unix mode of all of them."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return packed.getvalue()
