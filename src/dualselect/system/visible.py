"""Somebody's text made safe to look at: what a terminal or a browser would act on, or hide, is spelled out."""

import re


# Control characters but tab and newline; bidi and zero-width controls; tags that spell hidden text; halves of pairs.
# Joiners stay: emoji and several scripts need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
    "|[\U000e0000-\U000e007f]"
)
# User and password of an address; its last @ before the path ends them.
_USER = re.compile(r"(\b[a-zA-Z][\w+.-]*://)[^/\s?#\"'<>]*@")
_QUERY = re.compile(r"(\bhttps?://[^\s?#\"'<>]*)\?[^\s\"'<>#]*")


def visible(text: str) -> str:
    """Replace control characters and other unseen ones by their numbers: an escape becomes [U+001B]."""
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Visible text on one line, as a cell of a table or a name in a message."""
    return " ".join(visible(text).split())


def continued(text: str) -> str:
    """The text with all lines but the first indented, so that none of them looks like a message of its own."""
    return re.sub(r"\n(?=\S)", "\n  ", text)


def without_credentials(text: str) -> str:
    """The text with user names, passwords and query strings of addresses left out; hosts and paths stay."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))
