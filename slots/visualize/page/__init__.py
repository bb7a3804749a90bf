"""Pages in one file that need no network and run nothing but the scripts of this folder."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any


def page(title: str, body: str, galleries: Sequence[Any]) -> str:
    """An HTML document with its style and scripts inside.

    The browser is told to load nothing and to run this script alone, whatever else a run's files
    may have brought into the page.

    Args:
        title: text.
        body: HTML; what comes from files must have been escaped.
        galleries: what `gallery.js` shows in the element `#gallery`, one for each run; for JSON.
    """
    style, script = (_read(name) for name in ("page.css", "gallery.js"))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # A tag inside the data would end them.
    data = json.dumps(list(galleries), allow_nan=False).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="gallery-data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
